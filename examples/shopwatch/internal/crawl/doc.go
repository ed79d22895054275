// Package crawl reads a paginated listing: it begins at one page, follows the
// links to further pages that each page shows, and fetches them in parallel.
//
// It fetches through an interface that scrape.Client satisfies, so identities,
// politeness and limits are the client's; the crawl bounds the number of pages
// and of workers. It can be asked to stop softly: pages that are on their way
// are finished, no new one is begun.
package crawl

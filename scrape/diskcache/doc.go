// Package diskcache keeps answers in a folder, so that a page that has not
// changed is not fetched again. It follows RFC 9111.
//
//	cache, err := diskcache.Open(ctx, "/var/cache/pages", nil)
//	if err != nil {
//		return err
//	}
//	c, err := scrape.New(ctx, &scrape.Options{Egress: scrape.Direct(), Cache: cache})
//
// An answer that the site calls fresh (max-age, s-maxage, Expires) is given
// without a request. For any other that has an ETag or a Last-Modified the site
// is asked whether it still holds, and a 304 gives the stored body. Without
// either nothing is stored; freshness is not guessed. A request may ask for
// more or less by Cache-Control: no-cache, no-store, max-age, max-stale,
// min-fresh, only-if-cached. Options.MaxStale asks for that of every request.
// While a program is written, Options.KeepFor keeps all that is fetched for some
// hours, whatever the site says, so that its pages are asked for once.
//
// The folder is shared by all identities, and so works as RFC 9111's shared
// cache. It holds nothing that belongs to one of them: what was asked for with
// cookies or credentials, or came with Set-Cookie or as private, is not stored.
// Sites that set cookies for everyone can be cached only if no identity takes
// them, see scrape.Options.Cookies.
//
// By an ETag a site can know a visitor again, as it can choose another for
// each; Options.DisableETag asks by date alone. Where an answer depends on
// request headers (Vary), up to four variants of it are kept. One that varies
// by User-Agent is seldom met again while agents are random: use one agent, or
// scrape.PerIdentity. Accept-Encoding makes no variants, since bodies are
// stored decoded.
//
// What comes over http by Tor or a proxy can be written by whoever carries it,
// and one bad exit would be believed by all identities. So it is not cached
// unless scrape.Options.CachePlainHTTP is set, and then for an hour at most.
//
// Files are written beside and renamed, and each carries checksums: a crash, a
// full disk or a power cut loses an answer at worst, and gives no wrong one.
// Their names are hashes of addresses, of which nothing is kept in clear. There
// is nothing to close, and several processes may share a folder.
package diskcache

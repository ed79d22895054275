// Package scrape fetches pages through Tor or other proxies, under an identity
// that changes every 25 requests, politely, and never from your own address
// unless you say so.
//
// The smallest useful program:
//
//	c, err := scrape.New(ctx, &scrape.Options{Egress: scrape.SOCKS("127.0.0.1:9050")})
//	if err != nil {
//		return err // says what is wrong with Tor, and what to do
//	}
//	defer c.Close()
//	res, err := c.Get(ctx, "https://example.com/")
//
// [Client.Get] is for one page, [Client.Each] for a list of them, [Client.Crawl]
// for a site and its links, [Client.Session] for a log-in and the pages behind
// it, [Client.Post] and [Client.Do] for any other request. [Client.Transport]
// puts the same behind any code that takes an *http.Client or an
// http.RoundTripper. Package scrape/text reads pages that are not in UTF-8.
//
// An egress is the way out: Tor (package scrape/tor), [SOCKS], [Proxies] or
// [Direct]. An [Identity] is one exit's worth of requests: connections, cookies
// and the key by which Tor isolates its circuits. After Rotation.Every requests
// the next one takes over; the old one finishes what it has begun. A chain of
// redirects stays on its identity and counts once.
//
// What it promises:
//
//   - Without Tor there is no request: errors match [ErrEgressUnavailable], unless
//     Options.Fallback is [DirectWithWarning].
//   - Names are resolved by the exit. The local resolver is asked by [Direct]
//     alone.
//   - Only http and https, and only public addresses, on each hop of a redirect
//     ([ErrForbiddenAddress]); Options.Allow makes exceptions.
//   - Every answer is bounded: header, wire bytes, decoded bytes, redirects,
//     time ([Limits], [ErrBodyTooLarge]).
//   - robots.txt is obeyed ([ErrRobots]), hosts are spared ([HostLimit]),
//     Retry-After is waited out ([Retry]), and what has not changed need not be
//     sent again ([Cache], package scrape/diskcache).
//
// What it does not do: it runs no browser and no JavaScript, and its TLS
// greeting and HTTP/2 settings are Go's. Headers agree with the user agent that
// they name; a site that looks deeper sees a program.
//
// On Windows neither modes nor owners say who may read what the cache and the
// journal of a crawl store: the access list of their folder does. Links in their
// place are refused, and a process gets Ctrl-C but no SIGTERM.
package scrape

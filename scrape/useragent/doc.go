// Package useragent holds pools of browser user agents and the request headers
// that each of those browsers would send beside its name.
//
// The smallest useful program takes the built-in list:
//
//	pool := useragent.Builtin()
//	req.Header.Set("User-Agent", pool.GetRandom())
//
// [Load] reads a pool from a file and follows the file: text (one agent per
// line), a JSON array of strings, a JSON array of objects with weights, or a
// page of HTML. [Filter] takes bots and browsers that nobody runs any more out
// of a list. [Parse] says which browser an agent names, and [Agent.Header]
// gives Accept, Accept-Language, Accept-Encoding, Sec-CH-UA and Sec-Fetch
// headers that agree with it. An [Updater] keeps a pool fresh from an address.
//
// A [Pool] has the method GetRandom of github.com/corpix/uarand, so either can
// be given to package scrape. That package's list ends in 2022: nothing of it
// passes [Filter].
//
// The built-in list is top-user-agents (MIT, its notice is kept in the file
// data/top-user-agents.txt); [Pool.Source] and [Pool.Date] say which edition.
//
// What this package does not do: it does not make Go's TLS greeting or HTTP/2
// settings look like a browser's. Headers that agree with each other avoid the
// crudest of checks, no more.
package useragent

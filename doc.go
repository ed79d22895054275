// Package svcblocks is documentation only: a map of the packages below it.
//
// svcblocks is a set of building blocks for small services. Each block is a
// package that is imported alone into a service which already exists:
//
//   - [github.com/svcblocks/svcblocks/config] loads typed, layered settings,
//     reports every mistake at once with its file and line, says where each
//     value came from, follows changes and writes them back.
//   - [github.com/svcblocks/svcblocks/logging] is a log/slog handler whose
//     JSON-lines file is also the queue: sealed into segments and shipped in
//     bulk, at least once, also across kill -9.
//   - [github.com/svcblocks/svcblocks/notify] sends operator messages by
//     email, Slack or any service with the same one-method interface, with
//     routing, retries, storm control and a durable outbox.
//   - [github.com/svcblocks/svcblocks/scrape] is an http.RoundTripper through
//     Tor with a new identity every N requests, polite to sites, which fails
//     closed rather than show your own address.
//
// No block imports another. A program wires them together by what they share,
// which is small and mostly not ours:
//
//   - a *slog.Logger in every Options; nil discards, and the default logger is
//     never read or set;
//   - [net/http.RoundTripper], which scrape provides and others accept;
//   - Send(ctx, subject, message) error, the one method of notify.Notifier and
//     of the services of github.com/nikoksr/notify;
//   - [github.com/svcblocks/svcblocks/config/secret].Secret for passwords and
//     tokens, a package without dependencies;
//   - Run(ctx) error for what works in the background: it blocks until ctx
//     ends and everything is put away;
//   - Check(ctx) error for readiness: nil, or what is wrong and what to do.
//
// The usual order in main is: config.Load, logging.New, notify.New and
// scrape.New, each handed the logger; then every Run in one errgroup under a
// context that ends at SIGTERM. The program in examples/shopwatch does so, with a
// status page, a history and graceful shutdown; examples is a module of its
// own, so its dependencies are not yours.
package svcblocks

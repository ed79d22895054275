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
//   - a *slog.Logger in every Options; nil writes errors to stderr as text, and
//     the default logger is never read or set;
//   - [net/http.RoundTripper], which scrape provides and others accept;
//   - Send(ctx, subject, message) error, the one method of notify.Notifier and
//     of the services of github.com/nikoksr/notify;
//   - [github.com/svcblocks/svcblocks/config/secret].Secret for passwords and
//     tokens, a package without dependencies;
//   - Check(ctx) error: nil, or what is lost or stuck and what to do;
//   - Close() error, and Run(ctx) error for those who use an errgroup.
//
// # Wiring
//
// The usual order in main is config.Load, logging.New, notify.New, scrape.New,
// each handed the logger, and a deferred Close behind each:
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//
//	store, err := config.Load(ctx, Settings{}, config.File("config.yaml"), config.Env("APP"))
//	…
//	defer store.Close()
//	logs, err := logging.New(&store.Get().Log)
//	…
//	defer logs.Close()
//	hub, err := notify.New(&notify.Options{…, Logger: logs.Logger("notify")})
//	…
//	defer hub.Close()
//
//	return serve(ctx, store, logs, hub)
//
// The deferred calls run in the opposite order: the hub ends while the logs
// still take what it has to say. Each Close delivers what waits for at most
// CloseTimeout, 5s by default, and returns an error that says how many stayed
// on disk for the next start. A service whose parts run in an errgroup may call
// Run as well: it ties the same work to the group's context and drains when that
// ends. Close follows all the same.
//
//	group, ctx := errgroup.WithContext(ctx)
//	group.Go(func() error { return store.Run(ctx) })
//	group.Go(func() error { return logs.Run(ctx) })
//	group.Go(func() error { return hub.Run(ctx) })
//	group.Go(func() error { return serve(ctx, store, logs, hub) })
//	return group.Wait()
//
// What each block does without Run:
//
//	config.Load    gives one snapshot. Reload, files that change and leases need Store.Run.
//	logging.New    writes, rotates, and ships if it has a Sink, until Close.
//	notify.New     delivers, tries again, and keeps its outbox, until Close.
//	scrape.New     does all that it does; it has no Run. Close ends open requests.
//	tor.Start      runs Tor as a child until Close.
//
// The program in examples/shopwatch is wired so, with a status page, a history and
// graceful shutdown; examples is a module of its own, so its dependencies are
// not yours.
package svcblocks

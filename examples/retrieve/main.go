// Command retrieve reads the lots and estates of a tea auction's web site, page
// after page, into CSV and JSON Lines.
//
//	retrieve                                   # a site of its own on loopback
//	retrieve -url https://tea.example/ -socks 127.0.0.1:9050
//
// Ctrl-C stops it; started again it goes on with the page that was on its way.
// The files in -out appear whole, when all pages are read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/scrape"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "retrieve: stopped; the same command goes on from here")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "retrieve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("retrieve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("url", "", "the site's first page; empty: a site of its own on loopback")
	out := flags.String("out", "var/retrieve", "the folder of the results")
	fresh := flags.Bool("fresh", false, "begin anew where an earlier run was stopped")
	maxBad := flags.Float64("max-bad", 5, "fail if more than this percentage of the rows cannot be read")
	incomplete := flags.Bool("incomplete", false, "write what there is, even if the site announces more")
	socks := flags.String("socks", "", "go through the SOCKS proxy at this address, such as Tor's 127.0.0.1:9050")
	direct := flags.Bool("direct", false, "go there from this machine's own address")
	rate := flags.Float64("rate", 1, "requests a second; not for the site of its own")
	lots := flags.Int("lots", 4000, "the site of its own: how many lots")
	seed := flags.Uint64("seed", 1, "the site of its own: what the lots are drawn by")
	if err := flags.Parse(args); err != nil {
		return err
	}

	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? all settings are flags", flags.Arg(0))
	}
	if *rate <= 0 || *lots < 0 || *maxBad < 0 {
		return errors.New("-rate must be above 0, -lots and -max-bad must not be negative")
	}

	name := *address // what a stopped run may be continued for
	if name == "" {
		// The site's port is another each time, its content is not.
		name = fmt.Sprintf("the site of its own, -lots %d -seed %d", *lots, *seed)
		site, stop, err := serve(tea.NewSite(*seed, *lots))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		*address, *direct = site, true
	}

	start, err := url.Parse(*address)
	if err != nil || start.Host == "" {
		return fmt.Errorf("-url %q is no address such as https://tea.example/", *address)
	}

	opts := &scrape.Options{Logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	switch {
	case *socks != "":
		opts.Egress = scrape.SOCKS(*socks)
	case *direct:
		opts.Egress = scrape.Direct()
	default:
		return errors.New("say how to go there: -socks 127.0.0.1:9050 through Tor, or -direct from this machine's own address")
	}

	opts.HostLimit.PerSecond = *rate
	if ip, err := netip.ParseAddr(start.Hostname()); err == nil && ip.IsLoopback() {
		// Only what was asked for: no other private address may be fetched, even
		// if the site redirects there.
		opts.Allow = []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}
		opts.HostLimit.PerSecond = -1 // nobody is spared there but ourselves
	}

	client, err := scrape.New(ctx, opts)
	if err != nil {
		return err
	}
	defer client.Close()

	book, err := openJournal(*out, name, *fresh)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	if n := len(book.pages); n > 0 {
		fmt.Fprintf(stderr, "retrieve: going on after %d pages\n", n)
	}

	begin := time.Now()
	bar := newProgress(stdout)
	err = retrieve(ctx, client, start, book, bar)
	bar.end()
	if err != nil {
		return err
	}

	return finish(book, *out, *maxBad, *incomplete, time.Since(begin), stdout)
}

// serve serves h on a free port of loopback.
func serve(h http.Handler) (address string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: safehttp.ThisMachine().Handler(h), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	return "http://" + l.Addr().String() + "/", func() error {
		err := srv.Close()
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

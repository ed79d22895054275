package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// egress is the way out and how it came about.
type egress struct {
	scrape.Egress

	direct    string                          // why requests leave directly on purpose; empty if they don't
	fallsBack bool                            // requests leave directly while Tor is missing
	run       func(ctx context.Context) error // nil where nothing has to be done in the background
	close     func() error
}

// openEgress decides how requests leave. Nothing is contacted: while Tor is
// missing, requests fail or leave directly, as scrape.fallback says.
func openEgress(ctx context.Context, cfg settings.Settings, demoSite bool, logger *slog.Logger) (*egress, error) {
	direct := func(why string) *egress {
		return &egress{Egress: scrape.Direct(), direct: why, close: func() error { return nil }}
	}

	switch {
	case demoSite:
		return direct("the demo shop is on this machine, where Tor does not lead; a real site.url is fetched through Tor only"), nil
	case cfg.Tor.Disabled:
		logger.WarnContext(ctx, "pages are fetched from this machine's own address", "cause", "tor.disabled is set")
		return direct("tor.disabled is set: pages are fetched from this machine's own address"), nil
	}

	fallsBack := cfg.Scrape.Fallback != scrape.Never
	options := cfg.Tor.Options
	options.Logger = logger
	if err := options.Validate(); err != nil {
		return nil, err
	}

	if cfg.Tor.Start {
		t := &lateTor{
			open: func(ctx context.Context) (*tor.Tor, error) { return tor.Start(ctx, &options) },
			log:  logger, err: errors.New("it is being started"),
		}
		return &egress{Egress: t, fallsBack: fallsBack, run: t.run, close: t.close}, nil
	}

	options.DisableStartCheck = true // it is looked for when it is needed
	t, err := tor.Dial(ctx, &options)
	if err != nil {
		return nil, err
	}
	return &egress{Egress: t, fallsBack: fallsBack, close: t.Close}, nil
}

// ready says why no page can be had for now. One that may be fetched from this
// machine's own address waits for nothing.
func (e *egress) ready(ctx context.Context) error {
	if e.fallsBack {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return e.Check(ctx)
}

// advice says what to do about a way out that does not work.
func (e *egress) advice(err error) string {
	text := torAdvice(err)
	if e.fallsBack {
		text = "until Tor is there, REQUESTS LEAVE FROM THIS MACHINE'S OWN ADDRESS, as scrape.fallback says (never stops that); " + text
	}
	return text
}

// lateTor is a Tor of the service's own, whose start may take long or fail for
// now.
type lateTor struct {
	open func(ctx context.Context) (*tor.Tor, error)
	log  *slog.Logger

	mu  sync.Mutex
	tor *tor.Tor // nil until it is there
	err error    // why it is not
}

const reopenAfter = 5 * time.Second

// run opens the Tor, as often as it takes.
func (l *lateTor) run(ctx context.Context) error {
	for {
		t, err := l.open(ctx)
		if ctx.Err() != nil && err != nil {
			return nil
		}
		l.mu.Lock()
		changed := l.err == nil || err == nil || l.err.Error() != err.Error()
		l.tor, l.err = t, err

		l.mu.Unlock()
		if err == nil {
			<-ctx.Done()
			return nil
		}
		if changed {
			l.log.WarnContext(ctx, "Tor is not there yet", "error", err)
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reopenAfter):
		}
	}
}

func (l *lateTor) get() (*tor.Tor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tor == nil {
		return nil, fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, l.err)
	}
	return l.tor, nil
}

func (l *lateTor) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tor == nil {
		return nil
	}
	return l.tor.Close()
}

// HasControl is true: a Tor that was started here has a control port.
func (l *lateTor) HasControl() bool { return true }

func (l *lateTor) String() string {
	if t, err := l.get(); err == nil {
		return t.String()
	}
	return "Tor"
}

func (l *lateTor) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	t, err := l.get()
	if err != nil {
		return nil, err
	}
	return t.DialContext(ctx, isolation, network, addr)
}

func (l *lateTor) DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error) {
	t, err := l.get()
	if err != nil {
		return nil, "", err
	}
	return t.DialExit(ctx, isolation, network, addr)
}

func (l *lateTor) Check(ctx context.Context) error {
	t, err := l.get()
	if err != nil {
		return err
	}
	return t.Check(ctx)
}

func (l *lateTor) Probe(ctx context.Context) error {
	t, err := l.get()
	if err != nil {
		return err
	}
	return t.Probe(ctx)
}

func (l *lateTor) NewIdentity(ctx context.Context) error {
	t, err := l.get()
	if err != nil {
		return err
	}
	return t.NewIdentity(ctx)
}

func (l *lateTor) Exit(ctx context.Context, isolation string) (string, error) {
	t, err := l.get()
	if err != nil {
		return "", err
	}
	return t.Exit(ctx, isolation)
}

func (l *lateTor) Exits(ctx context.Context) (int, error) {
	t, err := l.get()
	if err != nil {
		return 0, err
	}
	return t.Exits(ctx)
}

func (l *lateTor) Warm(ctx context.Context, isolation, host string) error {
	t, err := l.get()
	if err != nil {
		return err
	}
	return t.Warm(ctx, isolation, host)
}

// torAdvice says what to do about an egress that does not work.
func torAdvice(err error) string {
	switch {
	case errors.Is(err, tor.ErrNotReady):
		return "wait: Tor is connecting to its network; if it stays so, see Tor's log and whether this machine has a way to the internet"
	case errors.Is(err, tor.ErrAuth):
		return "set tor.password, or tor.cookie_file to a cookie that the service may read"
	case errors.Is(err, scrape.ErrEgressUnavailable):
		return "start Tor (on Debian: apt install tor), or set tor.socks to where it listens; pages are then fetched again by themselves"
	default:
		return "see tor.socks and tor.control"
	}
}

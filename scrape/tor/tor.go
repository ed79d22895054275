package tor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// What a caller may branch on, by errors.Is.
var (
	// ErrNoControl: the method needs a control port, and Options names none.
	ErrNoControl = errors.New("tor: no control port: set Options.Control")
	// ErrNotReady: Tor runs but has no working circuits yet. It comes with
	// scrape.ErrEgressUnavailable.
	ErrNotReady = errors.New("tor: not ready")
	// ErrNoCircuit: no circuit of this identity is open.
	ErrNoCircuit = errors.New("tor: no circuit")
)

// newnymLimit is how long Tor may delay a NEWNYM (10 s), and some more.
const newnymLimit = 20 * time.Second

// Tor is a Tor process as an egress. Safe for concurrent use.
type Tor struct {
	opts  Options
	log   *slog.Logger
	name  string
	child *child // nil unless started here

	// locate finds out where the ports are now; nil if that is fixed.
	locate func(ctx context.Context) (*place, error)
	at     atomic.Pointer[place] // nil: not known
	search chan struct{}         // holds a token while nobody locates

	follower *follower
	exits    exitCount

	closeOnce sync.Once
	closeErr  error
}

// place is where Tor's ports are.
type place struct {
	socks   socks.Client
	control *controller // nil without a control port
}

// where returns where Tor's ports are, and finds out if that is not known.
func (t *Tor) where(ctx context.Context) (*place, error) {
	if p := t.at.Load(); p != nil {
		return p, nil
	}

	select {
	case <-t.search:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { t.search <- struct{}{} }()

	if p := t.at.Load(); p != nil { // found meanwhile
		return p, nil
	}
	p, err := t.locate(ctx)
	if err != nil {
		return nil, err
	}

	t.log.InfoContext(ctx, "tor found", "name", t.name, "socks", p.socks.Addr)
	t.at.Store(p)
	return p, nil
}

// controlAt returns the control port.
func (t *Tor) controlAt(ctx context.Context) (*controller, error) {
	if !t.HasControl() {
		return nil, ErrNoControl
	}
	p, err := t.where(ctx)
	if err != nil {
		return nil, err
	}
	return p.control, nil
}

// lost makes the next use find out anew where Tor is, if it may have moved.
func (t *Tor) lost(p *place) {
	if t.locate != nil && t.at.CompareAndSwap(p, nil) && p.control != nil {
		p.control.retire()
	}
}

var _ scrape.Egress = (*Tor)(nil)

// newTor returns a Tor whose place is found by locate, or is that of o.
func newTor(o Options, name string, locate func(ctx context.Context) (*place, error)) *Tor {
	t := &Tor{opts: o, name: name, log: o.Logger.With("component", "tor"), locate: locate, search: make(chan struct{}, 1), follower: newFollower()}
	t.search <- struct{}{}
	if locate == nil {
		t.at.Store(o.place())
	}
	return t
}

// Dial returns the Tor at the addresses of opts, or in their container, after a
// successful [Tor.Check] unless opts.DisableStartCheck is set. Errors:
// [ErrContainer], and scrape.ErrEgressUnavailable.
func Dial(ctx context.Context, opts *Options) (*Tor, error) {
	o, err := opts.withDefaults(false)
	if err != nil {
		return nil, err
	}
	t := newTor(o, "Tor at "+o.SOCKS, nil)
	if o.Container != "" {
		t = newContainer(o.Container, o)
	}

	if o.DisableStartCheck {
		return t, nil
	}
	if err := t.Check(ctx); err != nil {
		_ = t.Close() // the check's error is the one to report
		return nil, err
	}
	return t, nil
}

// String names the Tor, for people.
func (t *Tor) String() string { return t.name }

// HasControl reports whether there is a control port to ask, as NewIdentity
// and Exit need.
func (t *Tor) HasControl() bool { return t.opts.Control != "" }

// DialContext connects to addr, a host:port that is resolved at the exit, over
// a circuit that it shares only with connections of the same isolation key.
func (t *Tor) DialContext(ctx context.Context, isolation, _, addr string) (net.Conn, error) {
	p, err := t.where(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := p.socks.Connect(ctx, isolation, "x", addr)
	if err != nil {
		return nil, t.unavailable(p, err)
	}
	return conn, nil
}

// unavailable marks the failures of Tor itself.
func (t *Tor) unavailable(p *place, err error) error {
	if _, ok := errors.AsType[*socks.ProxyError](err); !ok {
		return err
	}
	t.lost(p)
	return named.Wrap("tor", "", fmt.Errorf("%w: %w (is Tor running, and is this its SocksPort?)", scrape.ErrEgressUnavailable, err))
}

// Probe reports whether the SOCKS port answers.
func (t *Tor) Probe(ctx context.Context) error {
	p, err := t.where(ctx)
	if err != nil {
		return err
	}
	if err := p.socks.Probe(ctx, "probe", "x"); err != nil {
		return t.unavailable(p, err)
	}
	return nil
}

// Check reports whether Tor can be used: the SOCKS port answers and, with a
// control port, the credentials are right, the bootstrap is complete and a
// circuit is open. Its errors match scrape.ErrEgressUnavailable.
func (t *Tor) Check(ctx context.Context) error {
	if err := t.Probe(ctx); err != nil {
		return err
	}
	if !t.HasControl() {
		return nil
	}
	return t.ready(ctx)
}

// ready asks the control port whether Tor can be used.
func (t *Tor) ready(ctx context.Context) error {
	s, err := t.Status(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return named.Wrap("tor", "", fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, err))
	}
	switch {
	case s.Bootstrap < 100:
		return named.Wrap("tor", "", fmt.Errorf("%w: %w: bootstrapped to %d %% (%s)", scrape.ErrEgressUnavailable, ErrNotReady, s.Bootstrap, s.Summary))
	case !s.CircuitEstablished:
		return named.Wrap("tor", "", fmt.Errorf("%w: %w: no circuit is established", scrape.ErrEgressUnavailable, ErrNotReady))
	}
	return nil
}

// Status is what Tor says of itself.
type Status struct {
	// Version is Tor's version.
	Version string
	// Bootstrap is how far Tor has come, in percent, and Summary in words.
	Bootstrap int
	Summary   string
	// CircuitEstablished says that Tor has built a circuit and thinks it can
	// build more.
	CircuitEstablished bool
	// NetworkLive says that Tor thinks the network is reachable.
	NetworkLive bool
	// SOCKSListeners are the addresses of its SOCKS ports.
	SOCKSListeners []string
	// Restarts is how often a Tor that [Start] ran has been run again.
	Restarts int
}

// Status asks the control port. Errors: [ErrNoControl], [ErrAuth] and those of
// the connection.
func (t *Tor) Status(ctx context.Context) (Status, error) {
	c, err := t.controlAt(ctx)
	if err != nil {
		return Status{}, named.Wrap("tor", "status", err)
	}
	info, err := c.info(ctx, "version", "status/bootstrap-phase", "status/circuit-established", "network-liveness", "net/listeners/socks")
	if err != nil {
		return Status{}, named.Wrap("tor", "status", err)
	}

	phase := info["status/bootstrap-phase"]
	s := Status{
		Version: info["version"], Summary: field(phase, "SUMMARY"),
		CircuitEstablished: info["status/circuit-established"] == "1", NetworkLive: info["network-liveness"] == "up",
	}
	s.Bootstrap, _ = strconv.Atoi(field(phase, "PROGRESS")) // no number means no progress
	if t.child != nil {
		s.Restarts = t.child.restarts()
	}

	for listener := range strings.FieldsSeq(info["net/listeners/socks"]) {
		s.SOCKSListeners = append(s.SOCKSListeners, strings.Trim(listener, `"`))
	}
	return s, nil
}

// field returns the value of key=value in a line of Tor's, quotes removed.
func field(line, key string) string {
	rest := " " + line
	_, rest, ok := strings.Cut(rest, " "+key+"=")
	if !ok {
		return ""
	}
	if quoted, ok := strings.CutPrefix(rest, `"`); ok {
		value, _, _ := strings.Cut(quoted, `"`)
		return value
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// NewIdentity sends NEWNYM and returns when Tor says that it took effect: new
// connections of every isolation key use new circuits. Tor does so once in
// 10 s and merges what comes in between. Connections that are open stay where
// they are. Without a deadline in ctx it takes 20 s at most.
func (t *Tor) NewIdentity(ctx context.Context) error {
	c, err := t.controlAt(ctx)
	if err != nil {
		return named.Wrap("tor", "new identity", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, newnymLimit, fmt.Errorf("no NEWNYM event within %v: %w", newnymLimit, context.DeadlineExceeded))
	defer cancel()
	if err := c.newIdentity(ctx); err != nil {
		if ctx.Err() == nil && !errors.Is(err, ErrCommand) {
			err = fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, err)
		}
		return named.Wrap("tor", "new identity", err)
	}
	t.log.InfoContext(ctx, "new identity")
	return nil
}

// DialExit does as DialContext does, and returns the fingerprint of the exit
// that the connection leaves by: Tor may move a connection to another circuit
// than [Tor.Exit] has told. Errors of the control port are as those of Exit.
func (t *Tor) DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error) {
	c, err := t.controlAt(ctx)
	if err != nil {
		return nil, "", named.Wrap("tor", "exit", err)
	}
	s, err := t.follower.get(ctx, &c.login)
	if err != nil {
		return nil, "", named.Wrap("tor", "exit", err)
	}

	conn, err := t.DialContext(ctx, isolation, network, addr)
	if err != nil {
		return nil, "", err
	}

	exit, err := c.exitOf(ctx, s, conn)
	if err != nil {
		_ = conn.Close() // it is of no use
		return nil, "", named.Wrap("tor", "exit", err)
	}
	return conn, exit, nil
}

// Exit returns the fingerprint of the exit that connections of the isolation
// key leave by: that of its newest open circuit. Errors: [ErrNoControl],
// [ErrNoCircuit] before the first connection or Warm under this key, and those
// of the control port.
func (t *Tor) Exit(ctx context.Context, isolation string) (string, error) {
	control, err := t.controlAt(ctx)
	if err != nil {
		return "", named.Wrap("tor", "exit", err)
	}
	circuits, err := control.circuits(ctx)
	if err != nil {
		return "", named.Wrap("tor", "exit", err)
	}
	exit := exitOfKey(circuits, isolation)
	if exit == "" {
		return "", named.Wrap("tor", "", fmt.Errorf("exit: %w of this identity is open", ErrNoCircuit))
	}
	return exit, nil
}

// Exits returns how many exits the network has, as Tor knows it. The answer is
// kept for half an hour.
func (t *Tor) Exits(ctx context.Context) (int, error) {
	control, err := t.controlAt(ctx)
	if err != nil {
		return 0, named.Wrap("tor", "exits", err)
	}
	n, err := t.exits.get(func() (string, error) {
		info, err := control.info(ctx, "ns/all")
		return info["ns/all"], err
	})
	if err != nil {
		return 0, named.Wrap("tor", "exits", err)
	}
	return n, nil
}

// Where returns the address of an exit and its country, two letters in lower
// case; each is "" if Tor does not know it, the country also where Tor has no
// table of them (package tor-geoipdb). Errors: [ErrNoControl] and those of the
// control port.
func (t *Tor) Where(ctx context.Context, exit string) (address, country string, err error) {
	control, err := t.controlAt(ctx)
	if err != nil {
		return "", "", named.Wrap("tor", "where", err)
	}
	address, country, err = control.where(ctx, exit)
	if err != nil {
		return "", "", named.Wrap("tor", "where", err)
	}
	return address, country, nil
}

// Warm has Tor build a circuit for the isolation key, by resolving host over
// it: host's server sees nothing of it. An address that is no name is resolved
// backwards, for Tor answers for it without a circuit else.
func (t *Tor) Warm(ctx context.Context, isolation, host string) error {
	if host == "" {
		return nil
	}
	p, err := t.where(ctx)
	if err != nil {
		return err
	}

	if _, parse := netip.ParseAddr(host); parse == nil {
		err = p.socks.ResolvePTR(ctx, isolation, "x", host)
	} else {
		_, err = p.socks.Resolve(ctx, isolation, "x", host)
	}

	if _, ok := errors.AsType[*socks.ReplyError](err); ok {
		return nil // the exit answered: there is a circuit
	}
	return t.unavailable(p, err)
}

// Close drops the connection to the control port, and ends Tor if [Start] ran
// it. Connections through Tor stay as they are. Idempotent.
func (t *Tor) Close() error {
	t.closeOnce.Do(func() {
		t.follower.close(t.opts.Timeout)
		if p := t.at.Load(); p != nil && p.control != nil {
			p.control.close()
		}
		if t.child != nil {
			t.closeErr = t.child.close()
		}
	})
	return t.closeErr
}

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

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
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

// exitsAge is how long the count of exits is kept.
const exitsAge = 30 * time.Minute

// Options are the settings of a [Tor], copied by [Dial] and [Start]. The zero
// value of each field is its default. Logger is set in code; everything else can
// be loaded from a file.
type Options struct {
	// Container is the name or id of the Docker container that Tor runs in, for
	// Dial. It asks the Engine where the container is, and takes the first address
	// at which a SOCKS port answers: the published port if this process is on the
	// host, the container's own address if they share a network. Without access to
	// the Engine's socket it tries the name itself, which Docker's DNS knows on a
	// shared network, and the port on 127.0.0.1. If the container is lost, the next
	// use looks for it again. Defaults to none.
	Container string `doc:"name or id of the Docker container that Tor runs in"`
	// SOCKS is the SOCKS port: host:port or unix:/path. Defaults to
	// 127.0.0.1:9050. With Container only the port counts, Start ignores it.
	SOCKS string `doc:"SOCKS port of Tor: host:port, or unix:/path" default:"127.0.0.1:9050" zero:"default"`
	// Control is the control port: host:port or unix:/path. Defaults to none.
	// With Container only the port counts, Start ignores it.
	Control string `doc:"control port of Tor: host:port, or unix:/path; none if empty"`
	// Password is for the control port, if torrc has HashedControlPassword.
	Password secret.Secret `doc:"password of the control port"`
	// CookieFile is where the control port's cookie lies. Defaults to where Tor
	// says; needed if Tor sees another file system.
	CookieFile string `doc:"cookie file of the control port, if it lies elsewhere than Tor says"`
	// Timeout bounds each command on the control port, and reaching and greeting
	// either port. Defaults to 4s; negative: 1m.
	Timeout time.Duration `doc:"bound of each answer of Tor's own; negative is 1m" default:"4s" zero:"default"`
	// DisableStartCheck lets Dial return without contact to Tor, so that a service
	// can come up before its Tor does.
	DisableStartCheck bool `doc:"start although Tor is not there yet"`
	// DockerSocket is the Engine's socket, for Container. Defaults to
	// /var/run/docker.sock.
	DockerSocket string `doc:"socket of the Docker Engine" default:"/var/run/docker.sock" zero:"default"`
	// Binary is the program for Start. Defaults to tor, from PATH.
	Binary string `doc:"the tor program, where the service runs its own" default:"tor" zero:"default"`
	// DataDir is where Start's Tor keeps what it learns of the network, for a
	// quicker start the next time. Defaults to a folder that is removed at Close.
	DataDir string `doc:"where a Tor of the service's own keeps its data; a temporary folder if empty"`
	// ExitCountries are the countries that Start's Tor leaves by, as two letters:
	// de, nl. There must be some exits in them. Defaults to all.
	ExitCountries []string `doc:"countries that a Tor of the service's own leaves by, as de or nl"`
	// Torrc holds further lines of torrc for Start.
	Torrc []string `doc:"further lines of torrc for a Tor of the service's own"`
	// Logger gets one line per event. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// Validate returns every mistake, each by its field.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("tor: options")
}

func (o Options) mistakes() options.Mistakes {
	options.Fill(&o)
	wrong := options.Check(o)
	if o.Container != "" && !isContainerName(o.Container) {
		wrong.Add("Container", "%q is no name and no id: letters, digits, _, . and - only", o.Container)
	}

	for _, field := range []struct{ name, addr string }{{"SOCKS", o.SOCKS}, {"Control", o.Control}} {
		if field.addr == "" {
			continue
		}
		if err := validAddr(field.addr); err != nil {
			wrong.Add(field.name, "%s", err)
		}
	}

	for i, country := range o.ExitCountries {
		if len(country) != 2 || strings.Trim(strings.ToLower(country), "abcdefghijklmnopqrstuvwxyz") != "" {
			wrong.Add(fmt.Sprintf("ExitCountries[%d]", i), "%q is no country: write two letters, as de", country)
		}
	}

	for i, line := range o.Torrc {
		if strings.ContainsAny(line, "\r\n") {
			wrong.Add(fmt.Sprintf("Torrc[%d]", i), "holds more than one line")
		}
	}

	return wrong
}

// withDefaults returns a copy with every default filled in, or all that is
// wrong.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	wrong := c.mistakes()
	if err := wrong.Err("tor: new"); err != nil {
		return c, err
	}

	options.Fill(&c)
	if c.Timeout < 0 {
		c.Timeout = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func validAddr(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok && path != "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 65536 {
			return nil
		}
	}
	return fmt.Errorf("%q: write host:port, as 127.0.0.1:9050, or unix:/path", addr)
}

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

	following chan struct{} // holds a token while nobody uses streams
	streams   *streams
	closed    atomic.Bool

	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	exits   int
	exitsAt time.Time
}

// place is where Tor's ports are.
type place struct {
	socks   socks.Client
	control *controller // nil without a control port
}

// place returns the place of fixed addresses.
func (o *Options) place() *place {
	p := &place{socks: socks.Client{Addr: o.SOCKS, HandshakeTimeout: o.Timeout}}
	if o.Control != "" {
		p.control = newController(o.Control, o.Password, o.CookieFile, o.Timeout)
	}
	return p
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
	t := &Tor{opts: o, name: name, log: o.Logger.With("component", "tor"), locate: locate, search: make(chan struct{}, 1), following: make(chan struct{}, 1)}
	t.search <- struct{}{}
	t.following <- struct{}{}
	if locate == nil {
		t.at.Store(o.place())
	}
	return t
}

// Dial returns the Tor at the addresses of opts, or in their container, after a
// successful [Tor.Check] unless opts.DisableStartCheck is set. Errors:
// [ErrContainer], and scrape.ErrEgressUnavailable.
func Dial(ctx context.Context, opts *Options) (*Tor, error) {
	o, err := opts.withDefaults()
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

func (c *controller) newIdentity(ctx context.Context) error {
	e, err := c.listen(ctx, control.EventCodeSignal)
	if err != nil {
		return err
	}
	defer e.close()
	if _, err := c.command(ctx, "SIGNAL NEWNYM"); err != nil {
		return err
	}
	_, err = e.wait(ctx, func(line string) bool { return line == "SIGNAL NEWNYM" })
	return err
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
		t.closeStreams()
		if p := t.at.Load(); p != nil && p.control != nil {
			p.control.close()
		}
		if t.child != nil {
			t.closeErr = t.child.close()
		}
	})
	return t.closeErr
}

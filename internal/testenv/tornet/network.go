package tornet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/netns"
	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
)

// Addresses of the documentation ranges (RFC 5737), which only the namespace
// knows. Tor tells exits apart by address only where they are not loopback.
var (
	authorityAddr = netip.MustParseAddr("198.51.100.10")
	siteAddr      = netip.MustParseAddr("203.0.113.80")
	exitAddrs     = []netip.Addr{
		netip.MustParseAddr("198.51.100.11"),
		netip.MustParseAddr("198.51.100.12"),
		netip.MustParseAddr("198.51.100.13"),
		netip.MustParseAddr("198.51.100.14"),
	}
)

// firstConsensus is how long after its start the authority publishes.
const firstConsensus = 9 * time.Second

// everyNode is what each tor process of the network is told.
const everyNode = `TestingTorNetwork 1
AssumeReachable 1
TestingServerDownloadInitialDelay 0
PathsNeededToBuildCircuits 0.25
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
V3AuthNIntervalsValid 2
TestingMinExitFlagThreshold 0
ShutdownWaitLength 0
GeoIPFile /dev/null
GeoIPv6File /dev/null
RunAsDaemon 0
SafeLogging 0
`

// The first consensus is due at a multiple of 10 s, shifted by the network's
// offset, and voted on 4 s earlier; those that follow every 10 s.
const authorityTorrc = `ContactInfo tornet@example.invalid
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
ExitRelay 0
ExitPolicy reject *:*
SocksPort 0
`

// An exit that allows the loopback range only does not count as an exit.
const exitTorrc = `ExitRelay 1
ExitPolicy accept *:*
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
ServerDNSAllowBrokenConfig 1
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
SocksPort 0
`

// A Network is a running private Tor network.
type Network struct {
	// Exits are its four exits.
	Exits []Exit
	// SiteAddr is the address that every name resolves to at the exits.
	SiteAddr netip.Addr
	// Client is the client that the tests of a package share.
	Client *Client

	tor       string
	dir       string
	authority string // the DirAuthority line
	nodes     []*node
	dns       []*testdns.Server // one per exit

	mu      sync.Mutex
	clients int
}

// An Exit is a relay through which streams leave the network.
type Exit struct {
	Nickname string
	// Fingerprint is its identity, 40 hexadecimal digits in upper case.
	Fingerprint string
	// Addr is where a site sees its streams come from.
	Addr netip.Addr
}

// start starts the network and waits until its client can use every exit.
func start(ctx context.Context) (_ *Network, err error) {
	tor, err := testenv.Find("tor")
	if err != nil {
		return nil, err
	}

	n := &Network{tor: tor.Path, dir: filepath.Join(netns.Dir(), "tornet"), SiteAddr: siteAddr}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()

	for _, addr := range append([]netip.Addr{authorityAddr, siteAddr}, exitAddrs...) {
		if err := netns.AddAddr(addr); err != nil {
			return nil, err
		}
	}

	if err := n.startAuthority(ctx); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	for i, addr := range exitAddrs {
		if err := n.startExit(i, addr); err != nil {
			return nil, fmt.Errorf("exit: %w", err)
		}
	}
	if err := n.nodes[0].wait(ctx, n.lacksConsensus); err != nil {
		return nil, err
	}

	// Exits that asked in vain for a consensus wait ever longer before they
	// ask again, and those that hold an earlier one, of the authority alone,
	// have no hurry; started afresh, without it, they ask at once.
	for _, exit := range n.nodes[1:] {
		if err := errors.Join(exit.stop(), exit.forget(), exit.restart()); err != nil {
			return nil, err
		}
	}

	// A client that starts with a consensus that lacks some exits sends
	// everything through those it knows for as long as that consensus lasts.
	for _, exit := range n.nodes[1:] {
		if err := exit.wait(ctx, n.lacksConsensus); err != nil {
			return nil, err
		}
	}

	for i := range n.Exits {
		n.Exits[i].Fingerprint, err = n.nodes[i+1].fingerprint()
		if err != nil {
			return nil, err
		}
	}
	n.Client, err = n.startClient(ctx, nil)
	return n, err
}

// resolve answers the exits: every name is the site, but for the top-level
// domain that never exists (RFC 6761 §6.4).
func resolve(name string) ([]netip.Addr, bool) {
	if name == "invalid" || strings.HasSuffix(name, ".invalid") {
		return nil, false
	}
	return []netip.Addr{siteAddr}, true
}

// startAuthority makes the keys of the directory authority and starts it.
func (n *Network) startAuthority(ctx context.Context) error {
	const name = "auth"
	dir := filepath.Join(n.dir, name)
	keys := filepath.Join(dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return err
	}

	gencert, err := testenv.Find("tor-gencert")
	if err != nil {
		return err
	}
	cmd := gencert.Command("--create-identity-key", "--passphrase-fd", "0", "-m", "12",
		"-a", netip.AddrPortFrom(authorityAddr, 7000).String())
	cmd.Dir = keys
	cmd.Stdin = strings.NewReader("\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tor-gencert: %w: %s", err, out)
	}

	certificate, err := os.ReadFile(filepath.Join(keys, "authority_certificate"))
	if err != nil {
		return err
	}
	var identity string
	for line := range strings.Lines(string(certificate)) {
		if value, ok := strings.CutPrefix(line, "fingerprint "); ok {
			identity = strings.TrimSpace(value)
		}
	}

	// The first vote must find every exit's descriptor and should not be long
	// after: else the first consensus lists none, and the next is far away.
	offset := (time.Now().Unix() + int64(firstConsensus/time.Second)) % 10
	torrc := authorityTorrc + fmt.Sprintf("TestingV3AuthVotingStartOffset %d\n", offset) + fmt.Sprintf("Address %[1]v\nORPort %[1]v:5000 IPv4Only\nDirPort %[1]v:7000\n", authorityAddr)
	node := newNode(n.tor, dir, name, 0)

	// The fingerprint does not depend on who the authorities are, but tor
	// insists on one.
	unknown := "DirAuthority unknown orport=5000 no-v2 v3ident=" + identity + " " +
		netip.AddrPortFrom(authorityAddr, 7000).String() + " " + strings.Repeat("0", 40) + "\n"
	fingerprint, err := node.makeIdentity(ctx, torrc+unknown)
	if err != nil {
		return err
	}

	n.authority = strings.Replace(strings.Replace(unknown, strings.Repeat("0", 40), fingerprint, 1), "unknown", name, 1)
	n.nodes = append(n.nodes, node)
	return node.start(torrc + n.authority)
}

// startExit starts one exit.
func (n *Network) startExit(i int, addr netip.Addr) error {
	name := fmt.Sprintf("exit%d", i+1)
	dir := filepath.Join(n.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}

	// Each exit has a DNS server at its own address, so that the server tells
	// who asked.
	server, err := testdns.Listen(netip.AddrPortFrom(addr, 53).String(), resolve)
	if err != nil {
		return err
	}
	n.dns = append(n.dns, server)
	resolvConf := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolvConf, fmt.Appendf(nil, "nameserver %v\n", addr), 0o600); err != nil {
		return err
	}

	// A relay that has not seen any traffic has no bandwidth, and with it no
	// share of the streams as soon as another relay has some.
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "state"), bandwidth(time.Now()), 0o600); err != nil {
		return err
	}

	node := newNode(n.tor, dir, name, i+1)
	n.nodes = append(n.nodes, node)
	n.Exits = append(n.Exits, Exit{Nickname: name, Addr: addr})
	return node.start(exitTorrc + n.authority + fmt.Sprintf(
		"Address %[1]v\nORPort %[1]v:5000 IPv4Only\nOutboundBindAddressExit %[1]v\nOutboundBindAddressOR %[1]v\n"+
			"ServerDNSResolvConfFile %[2]s\n", addr, resolvConf))
}

// bandwidth returns the state file of a relay that carried 10 MB/s on each of
// the last days.
func bandwidth(now time.Time) []byte {
	ends := now.UTC().Add(-time.Hour).Format(time.DateTime)
	var state strings.Builder
	for _, direction := range []string{"Read", "Write"} {
		fmt.Fprintf(&state, "BWHistory%[1]sEnds %[2]s\nBWHistory%[1]sInterval 86400\n"+
			"BWHistory%[1]sValues 1000000,1000000,1000000\nBWHistory%[1]sMaxima 10000000,10000000,10000000\n",
			direction, ends)
	}
	return []byte(state.String())
}

// lacksConsensus returns the exits that a relay's consensus does not list.
func (n *Network) lacksConsensus(c *control) (missing []string, err error) {
	return n.lacks(c, "ns/name/")
}

// lacksCircuit returns what keeps a client from using every exit: a
// microdescriptor, or a first circuit.
func (n *Network) lacksCircuit(c *control) (missing []string, err error) {
	missing, err = n.lacks(c, "md/name/")
	if err != nil {
		return nil, err
	}
	established, err := c.get("status/circuit-established")
	if established != "1" {
		missing = append(missing, "circuit")
	}
	return missing, err
}

// lacks returns the exits for which a node has no value under prefix.
func (n *Network) lacks(c *control, prefix string) (missing []string, err error) {
	for _, exit := range n.Exits {
		value, err := c.get(prefix + exit.Nickname)
		if err != nil {
			return nil, err
		}
		if value == "" {
			missing = append(missing, prefix+exit.Nickname)
		}
	}
	return missing, nil
}

// close ends every process of the network, by its id, and removes its folder.
func (n *Network) close() error {
	var errs []error
	if n.Client != nil {
		errs = append(errs, n.Client.node.stop())
	}
	for _, node := range n.nodes {
		errs = append(errs, node.stop())
	}
	for _, server := range n.dns {
		errs = append(errs, server.Close())
	}
	errs = append(errs, os.RemoveAll(n.dir))
	return errors.Join(errs...)
}

// ExitAddrs returns the addresses of the exits.
func (n *Network) ExitAddrs() []netip.Addr {
	addrs := make([]netip.Addr, len(n.Exits))
	for i, exit := range n.Exits {
		addrs[i] = exit.Addr
	}
	return addrs
}

// Queries returns what the exits asked their DNS servers, in order of time;
// From is the exit. An exit asks once for each name and remembers the answer
// for a minute or longer.
func (n *Network) Queries() []testdns.Query {
	var queries []testdns.Query
	for _, server := range n.dns {
		queries = append(queries, server.Queries()...)
	}
	slices.SortStableFunc(queries, func(a, b testdns.Query) int { return a.Time.Compare(b.Time) })
	return queries
}

// LocalQueries returns what any process in the namespace asked the local
// resolver, in order: with Tor in front of everything, nothing.
func (n *Network) LocalQueries() []testdns.Query { return netns.LocalQueries() }

// NewClient starts a further client of the network, ready to use, which a
// test may stop and restart. It ends with the test.
func (n *Network) NewClient(t testing.TB, opts *ClientOptions) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	c, err := n.startClient(ctx, opts)
	if err != nil {
		t.Fatalf("tornet: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.node.stop(), os.RemoveAll(c.node.dir)); err != nil {
			t.Errorf("tornet: %v", err)
		}
	})
	return c
}

// startClient starts a client and waits until it can use every exit.
func (n *Network) startClient(ctx context.Context, opts *ClientOptions) (*Client, error) {
	if opts == nil {
		opts = &ClientOptions{}
	}
	n.mu.Lock()
	n.clients++
	number := n.clients
	n.mu.Unlock()

	name := fmt.Sprintf("client%d", number)
	node := newNode(n.tor, filepath.Join(n.dir, name), name, 100+number)
	c := &Client{
		SOCKSAddr:   fmt.Sprintf("127.0.0.1:%d", controlPorts+1000+number),
		ControlAddr: node.control,
		CookieFile:  node.cookie,
		LogFile:     node.log(),
		network:     n,
		node:        node,
	}
	torrc := clientTorrc + n.authority + "SocksPort " + c.SOCKSAddr + " IsolateSOCKSAuth KeepAliveIsolateSOCKSAuth\n" + opts.Torrc + "\n"
	if !opts.DisablePassword {
		c.Password = rand.Text()
		out, err := exec.CommandContext(ctx, n.tor, "--quiet", "--hash-password", c.Password).Output()
		if err != nil {
			return nil, fmt.Errorf("tor --hash-password: %w", err)
		}
		// Warnings may stand before the hash.
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		torrc += "HashedControlPassword " + lines[len(lines)-1] + "\n"
	}
	if err := node.start(torrc); err != nil {
		return nil, err
	}
	if err := node.wait(ctx, n.lacksCircuit); err != nil {
		return nil, errors.Join(err, node.stop())
	}
	return c, nil
}

// ServeSite serves handler on [Network.SiteAddr] at a port that the kernel
// picks, until the end of the test.
func (n *Network) ServeSite(t testing.TB, handler http.Handler) *Site {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", netip.AddrPortFrom(n.SiteAddr, 0).String())
	if err != nil {
		t.Fatalf("tornet: %v", err)
	}

	s := &Site{
		Port:    listener.Addr().(*net.TCPAddr).Port,
		exits:   n.ExitAddrs(),
		sources: map[netip.Addr]int{},
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(siteListener{listener, s}) }()

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("tornet: site: %v", err)
		}
	})
	return s
}

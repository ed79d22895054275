package tornet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Client is a tor process that offers SOCKS and a control port on loopback.
type Client struct {
	// SOCKSAddr is the host:port of its SOCKS port. Streams with different
	// SOCKS credentials use different circuits, those with the same use one
	// for as long as it lasts.
	SOCKSAddr string
	// ControlAddr is the host:port of its control port.
	ControlAddr string
	// CookieFile holds the cookie that authenticates at the control port.
	CookieFile string
	// Password does so too; empty where only the cookie does.
	Password string
	// LogFile is tor's own log.
	LogFile string

	network *Network
	node    *node
}

// ClientOptions are the options of [Network.NewClient]; the zero value makes
// a client with cookie and password.
type ClientOptions struct {
	// DisablePassword leaves the cookie alone.
	DisablePassword bool
	// Torrc holds further lines of the client's torrc.
	Torrc string
}

// clientTorrc is what every client is told. Without entry guards every relay
// may be an exit: a guard never is the exit of its own circuit.
const clientTorrc = `ClientOnly 1
UseEntryGuards 0
ClientRejectInternalAddresses 0
ClientDNSRejectInternalAddresses 0
EnforceDistinctSubnets 0
`

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

// Stop ends the client as SIGINT does, and waits for its end.
func (c *Client) Stop() error { return c.node.stop() }

// Kill ends the client with SIGKILL and waits for its end.
func (c *Client) Kill() { c.node.kill() }

// Start starts a client that was stopped or killed, at the same addresses and
// with a new cookie, and waits until it is ready.
func (c *Client) Start(ctx context.Context) error {
	if err := c.node.restart(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return c.node.wait(ctx, c.network.lacksCircuit)
}

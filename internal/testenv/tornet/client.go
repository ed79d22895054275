package tornet

import (
	"context"
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

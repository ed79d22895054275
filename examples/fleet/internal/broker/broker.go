// Package broker is the NATS side of a process: the embedded server, and
// connections to it or to a cluster elsewhere.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/internal/loopback"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// ServerOptions are the settings of an embedded server. Dir is required.
type ServerOptions struct {
	// Listen is host:port for workers; port 0 takes a free one.
	Listen string
	// Dir is where streams are kept.
	Dir string
	// Token is asked of every connection. Without one, Listen must be a
	// loopback address: whoever can connect could read and queue everything.
	Token secret.Secret
	// DisableSync leaves it to the operating system when messages reach the
	// disk. A killed process loses none either way; a power cut may.
	DisableSync bool
	// Shared takes a Dir that another user owns, or that everybody may write.
	Shared bool
	// Logger gets the server's warnings and errors. Nil discards.
	Logger *slog.Logger
}

// Server is an embedded NATS server with JetStream.
type Server struct {
	nats  *server.Server
	token secret.Secret
}

// readyWithin bounds the start: what was stored is read first.
const readyWithin = 2 * time.Minute

// StartServer starts a server and waits until it takes connections, or ctx
// ends.
func StartServer(ctx context.Context, opts ServerOptions) (*Server, error) {
	host, portText, err := net.SplitHostPort(opts.Listen)
	port, portErr := strconv.Atoi(portText)
	switch {
	case err != nil || portErr != nil:
		return nil, fmt.Errorf("broker: listen %q: write host:port, as 127.0.0.1:4222", opts.Listen)
	case opts.Dir == "":
		return nil, errors.New("broker: no folder for the streams")
	case opts.Token.IsZero() && !loopback.Is(host):
		return nil, fmt.Errorf("broker: listen %s: without a token, whoever reaches this address can read and queue everything: set nats.token, or listen on 127.0.0.1", opts.Listen)
	}

	if port == 0 {
		port = server.RANDOM_PORT
	}

	// Whoever may write the folder may plant jobs and results.
	if err := safefile.MakeDir(opts.Dir, safefile.Policy{Shared: opts.Shared, OptOut: "data_shared"}); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}

	s, err := server.NewServer(&server.Options{
		ServerName: "fleet", Host: host, Port: port, Authorization: opts.Token.Reveal(),
		JetStream: true, StoreDir: opts.Dir, SyncAlways: !opts.DisableSync, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}

	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	fatal := make(chan string, 1)
	s.SetLogger(serverLog{log.With("component", "nats"), fatal}, false, false)
	go s.Start()

	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %v", readyWithin))
	defer cancel()

	for !s.ReadyForConnections(50 * time.Millisecond) {
		var cause error
		select {
		case text := <-fatal:
			cause = errors.New(text)
		case <-ctx.Done():
			cause = context.Cause(ctx)
		default:
			continue
		}
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("broker: the server did not start on %s with its streams in %s: %w", opts.Listen, opts.Dir, cause)
	}

	return &Server{nats: s, token: opts.Token}, nil
}

// URL is the server's address for workers.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Close ends the server. What was stored is on disk.
func (s *Server) Close() error {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	return nil
}

// Connect connects to the server within this process.
func (s *Server) Connect(ctx context.Context, name string, asker *patient.Asker) (*nats.Conn, error) {
	return Dial(ctx, DialOptions{URL: s.URL(), Name: name, Token: s.token, Asker: asker, inProcess: s.nats})
}

// DialOptions are the settings of a connection.
type DialOptions struct {
	// URL is the address of a server, or of several, separated by commas.
	URL string
	// Name shows in the server's lists.
	Name string
	// Token and Credentials, a .creds file, are for servers that ask for them.
	Token       secret.Secret
	Credentials string
	// CA is a file of certificates to trust in addition.
	CA string
	// Asker tells of lost and new connections. Nil tells nobody.
	Asker *patient.Asker

	inProcess *server.Server
}

// Dial connects, and waits for a server that is not there yet until ctx ends.
// The connection comes back by itself, for ever.
func Dial(ctx context.Context, opts DialOptions) (*nats.Conn, error) {
	asker := patient.Or(opts.Asker)
	log := asker.Logger().With("component", "nats")

	var refused atomic.Pointer[error] // why no server was reached; nats keeps no such error
	options := []nats.Option{
		nats.Name(opts.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.RetryOnFailedConnect(true),
		// What cannot be sent now is an error now: each sender tries again
		// by itself, and knows what it has tried.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				asker.Failed(context.Background(), "connect", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { refused.Store(&err) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			log.Info("connected again", "server", c.ConnectedAddr())
			asker.Worked(context.Background(), "connect")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("connection", "error", err) }),
	}

	if opts.inProcess != nil {
		options = append(options, nats.InProcessServer(opts.inProcess))
	}
	if !opts.Token.IsZero() {
		options = append(options, nats.Token(opts.Token.Reveal()))
	}
	if opts.Credentials != "" {
		options = append(options, nats.UserCredentials(opts.Credentials))
	}
	if opts.CA != "" {
		options = append(options, nats.RootCAs(opts.CA))
	}

	nc, err := nats.Connect(opts.URL, options...)
	if err != nil {
		// The address may hold a password, and what cannot be read is quoted.
		return nil, fmt.Errorf("broker: connect: %s", redact.URLs(err.Error()))
	}

	patience := time.Now().Add(time.Second)
	for told := false; !nc.IsConnected(); {
		last := nc.LastError()
		if why := refused.Load(); last == nil && why != nil {
			last = *why
		}

		if !told && time.Now().After(patience) {
			log.WarnContext(ctx, "no server answers yet; waiting for it", "error", last)
			told = true
		}

		if errors.Is(last, nats.ErrAuthorization) || errors.Is(last, nats.ErrAuthExpired) {
			nc.Close()
			return nil, fmt.Errorf("broker: connect: %w (set nats.token or nats.credentials as the server asks for)", last)
		}

		select {
		case <-ctx.Done():
			nc.Close()
			return nil, fmt.Errorf("broker: connect: no server answers at nats.url: %w", errors.Join(context.Cause(ctx), last))
		case <-time.After(20 * time.Millisecond):
		}
	}

	return nc, nil
}

package email_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// far is a dialer to a server that is a round trip away.
func far(roundTrip time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		near, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		client, here := tcpPair()
		time.Sleep(roundTrip) // the handshake of TCP
		for _, way := range [][2]net.Conn{{here, near}, {near, here}} {
			go delay(way[0], way[1], roundTrip/2)
		}
		return client, nil
	}
}

// tcpPair is two ends of a connection that have deadlines and buffers as TCP.
func tcpPair() (a, b net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = ln.Close() }()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		panic(err)
	}
	if b, err = ln.Accept(); err != nil {
		panic(err)
	}
	return a, b
}

// delay copies what comes, later, without holding up what comes next.
func delay(from, to net.Conn, wait time.Duration) {
	type chunk struct {
		data []byte
		at   time.Time
	}
	line := make(chan chunk, 1024)
	go func() {
		defer close(line)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				line <- chunk{buf[:n], time.Now().Add(wait)}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range line {
		time.Sleep(time.Until(c.at))
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
	for range line { // lets the reader end
	}
}

// turns counts how often a connection goes from writing to reading: the round
// trips that its owner waits for.
type turns struct {
	net.Conn
	wrote atomic.Bool
	n     *atomic.Int32
}

func (c *turns) Write(p []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(p)
}

func (c *turns) Read(p []byte) (int, error) {
	if c.wrote.Swap(false) {
		c.n.Add(1)
	}
	return c.Conn.Read(p)
}

// A mail over a kept connection costs two round trips: the envelope in one write
// and the content in another.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		smtp   notifytest.SMTPOptions
		simple bool
		want   int32
	}{
		{"not offered", notifytest.SMTPOptions{NoPipelining: true}, false, 6}, // MAIL, three times RCPT, DATA, and the dot
		{"simple", notifytest.SMTPOptions{}, true, 6},
		{"pipelined", notifytest.SMTPOptions{}, false, 2},
	} {
		tc.smtp.NoSTARTTLS = true
		s := startServer(t, &tc.smtp)
		o := options(s)
		o.TLS, o.Simple, o.To = email.None, tc.simple, []string{"a@example.com", "b@example.com", "c@example.com"}
		var trips atomic.Int32
		o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &turns{Conn: c, n: &trips}, err
		}
		c := newClient(t, o)
		for i := range 3 {
			trips.Store(0)
			if err := c.Send(t.Context(), fmt.Sprint("s", i), "t"); err != nil {
				t.Fatal(err)
			}
			if got := trips.Load(); i > 0 && got != tc.want {
				t.Errorf("%s: a mail took %d round trips, want %d", tc.name, got, tc.want)
			}
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	s, err := notifytest.StartSMTP(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, conns := range []int{1, 4} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			o := options(s)
			o.MaxConns, o.DialContext = conns, far(20*time.Millisecond)
			c, err := email.New(o)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range conns {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if err := c.Send(b.Context(), "s", "t"); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}

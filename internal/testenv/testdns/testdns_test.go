package testdns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			known := []netip.Addr{netip.MustParseAddr("203.0.113.80"), netip.MustParseAddr("2001:db8::80")}
			s, err := testdns.Listen("127.0.0.1:0", func(name string) ([]netip.Addr, bool) {
				return known, name == "shop.test"
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, s.Addr())
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()

			got, err := resolver.LookupNetIP(ctx, "ip4", "Shop.Test.")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(known[:1], got, cmp.Comparer(func(a, b netip.Addr) bool { return a.Unmap() == b.Unmap() })); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			var notFound *net.DNSError
			if _, err := resolver.LookupNetIP(ctx, "ip4", "nowhere.test."); !errors.As(err, &notFound) || !notFound.IsNotFound {
				t.Errorf("unknown name: %v, want not found", err)
			}
			type query struct{ Name, Type, From string }
			var asked []query
			for _, q := range s.Queries() {
				asked = append(asked, query{q.Name, q.Type, q.From.String()})
			}
			want := []query{{"shop.test", "A", "127.0.0.1"}, {"nowhere.test", "A", "127.0.0.1"}}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("queries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	s, err := testdns.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

package netns_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(netns.Wrap(m)) }

func TestAddressesAreItsOwn(t *testing.T) {
	netns.Require(t)
	addr := netip.MustParseAddr("198.51.100.77")
	if err := netns.AddAddr(addr); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			t.Errorf("interface %s is up: the namespace reaches further than itself", i.Name)
		}
	}
}

func TestResolverIsATrap(t *testing.T) {
	netns.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const name = "asked-locally.test"
	if addrs, err := net.DefaultResolver.LookupHost(ctx, name); err == nil {
		t.Errorf("LookupHost(%s) = %v, want an error", name, addrs)
	}
	for _, q := range netns.LocalQueries() {
		if q.Name == name {
			return
		}
	}
	t.Errorf("LocalQueries() = %v, want one for %s", netns.LocalQueries(), name)
}

func TestDirIsItsOwn(t *testing.T) {
	netns.Require(t)
	if err := os.WriteFile(netns.Dir()+"/file", []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
}

// Package tornet runs a private Tor network of real tor processes: a directory
// authority, four exits with addresses of their own, and a client.
//
// It lives in a network namespace (see package netns), is started by the first
// test that asks for it, and shared by the tests of a package:
//
//	func TestMain(m *testing.M) { os.Exit(tornet.Wrap(m).Run()) }
//
//	func TestFetch(t *testing.T) {
//		network := tornet.Shared(t)
//		site := network.ServeSite(t, handler)
//		get(site.URL("shop.test"), network.Client.SOCKSAddr)
//		// site.Sources() are exits, site.Strangers() is empty
//	}
//
// Every name resolves, at the exits, to [Network.SiteAddr]; names below
// "invalid" do not. A test that stops or changes a client starts one of its
// own with [Network.NewClient].
package tornet

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

// startTimeout bounds the start of the network, which takes 10 to 30 seconds
// on an idle machine.
const startTimeout = 3 * time.Minute

// shared is the network of this process, which is one per namespace.
var shared struct {
	sync.Mutex
	network *Network
	err     error
}

// runner ends the shared network when the tests are done.
type runner struct{ tests netns.Tests }

// Run implements netns.Tests.
func (r runner) Run() int {
	code := r.tests.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.network != nil {
		if err := shared.network.close(); err != nil {
			fmt.Fprintf(os.Stderr, "tornet: %v\n", err)
			return max(code, 1)
		}
	}
	return code
}

// Wrap returns tests that run in a namespace of their own, where Shared can
// start a network. They go to os.Exit or to goleak.VerifyTestMain.
func Wrap(tests netns.Tests) netns.Tests {
	for _, name := range []string{"tor", "tor-gencert"} {
		if _, err := testenv.Find(name); err != nil {
			return tests
		}
	}
	return netns.Wrap(runner{tests})
}

// Shared returns the network of this test binary and starts it when it is
// first asked for. It skips t where Tor or namespaces are not to be had, or
// fails it with SVCBLOCKS_REQUIRE=all.
func Shared(t testing.TB) *Network {
	t.Helper()
	testenv.Require(t, "tor")
	testenv.Require(t, "tor-gencert")
	testenv.Require(t, "netns")
	if !netns.Inside() {
		t.Fatal("tornet: TestMain does not run the tests through tornet.Wrap, or this is a process that a test started")
	}

	shared.Lock()
	defer shared.Unlock()
	if shared.network == nil && shared.err == nil {
		// The network outlives the test that asks first, so t's context does
		// not bound it.
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		begin := time.Now()
		shared.network, shared.err = start(ctx)
		t.Logf("tornet: ready after %v", time.Since(begin).Round(time.Millisecond))
	}

	if shared.err != nil {
		t.Fatalf("tornet: %v", shared.err)
	}
	return shared.network
}

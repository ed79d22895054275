// Package netns runs a package's tests in network, mount and process
// namespaces of their own.
//
// Nothing in there reaches the outside, every port is free, addresses can be
// added at will, and the local resolver is a trap that answers no name and
// notes which were asked for. The test binary runs itself again as process 1
// of its namespace; when it ends, in whatever way, the kernel ends everything
// that it started and gives the namespaces back.
//
//	func TestMain(m *testing.M) { os.Exit(netns.Wrap(m).Run()) }
//
// Where namespaces cannot be created the tests run as ever, and those that
// call [Require] are skipped, or fail with SVCBLOCKS_REQUIRE=all.
package netns

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
)

// variable tells a process its part: unset outside, "enter:DIR" for the one
// that becomes process 1, "inside" for all that it starts.
const variable = "SVCBLOCKS_NETNS"

// Tests is what *testing.M and goleak's TestingM have in common.
type Tests interface{ Run() int }

// state is the namespace of this process; one process is in at most one.
var state struct {
	sync.Mutex
	inside bool
	dir    string
	trap   *testdns.Server
}

// runner runs tests inside a namespace.
type runner struct{ tests Tests }

// Wrap returns tests whose Run runs the same test binary again, with the same
// arguments, inside new namespaces, and returns its exit code.
func Wrap(tests Tests) Tests { return runner{tests} }

// Run implements Tests.
func (r runner) Run() int {
	value := os.Getenv(variable)
	dir, enter := strings.CutPrefix(value, "enter:")

	switch {
	case enter:
		os.Setenv(variable, "inside")
		leave, err := setUp(dir)
		if err != nil {
			fmt.Fprintf(os.Stderr, "netns: %v\n", err)
			return 1
		}
		defer leave()
		return r.tests.Run()
	case value != "" || isFuzzWorker():
		return r.tests.Run()
	}

	if _, err := testenv.Find("netns"); err != nil {
		return r.tests.Run()
	}
	code, err := again()
	if err != nil {
		fmt.Fprintf(os.Stderr, "netns: running the tests in a namespace: %v\n", err)
		return 1
	}
	return code
}

// isFuzzWorker reports whether the fuzzer started this process, which then
// speaks with it through inherited files.
func isFuzzWorker() bool {
	return slices.ContainsFunc(os.Args[1:], func(arg string) bool {
		return strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.fuzzworker")
	})
}

// Require refuses t unless this process is in a namespace of its own.
func Require(t testing.TB) {
	t.Helper()
	testenv.Require(t, "netns")
	if !Inside() {
		t.Fatal("netns: TestMain does not run the tests through netns.Wrap")
	}
}

// Inside reports whether Wrap has put this process into its namespace.
func Inside() bool {
	state.Lock()
	defer state.Unlock()
	return state.inside
}

// Dir returns a folder in memory that goes with the namespace, or "" outside.
func Dir() string {
	state.Lock()
	defer state.Unlock()
	return state.dir
}

// LocalQueries returns what was asked of the namespace's local resolver,
// by any process in it and in order. The resolver knows no name.
func LocalQueries() []testdns.Query {
	state.Lock()
	defer state.Unlock()
	if state.trap == nil {
		return nil
	}
	return state.trap.Queries()
}

// AddAddr gives the loopback interface of the namespace a further address.
// Outside a namespace it refuses: the machine's own addresses are not a
// test's to change.
func AddAddr(addr netip.Addr) error {
	if !Inside() {
		return fmt.Errorf("netns: adding %v: not in a namespace", addr)
	}
	return addAddr(addr)
}

package ways

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

const (
	// cellVariable names the cell that a process is to be: "number block/way".
	cellVariable = "SVCBLOCKS_WAYS_CELL"
	// usualBound stands for the minute after which a state is told.
	usualBound = 300 * time.Millisecond
)

// A cell is one way to lose or be stuck, as one block meets it.
type cell struct {
	block, way string
	// lost says that the block tells it as lost, and not as stuck.
	lost bool
	// advice stands in what is told.
	advice string
	// returned says that whoever asks gets the error, and nothing else tells it:
	// an error is returned or logged, never both.
	returned bool
	// heals says that the block ends the trouble by itself.
	heals bool
	// bound is usualBound if 0. It is longer where the block heals, or stores
	// something now and then.
	bound time.Duration
	// slow says that the block tries again only after minutes, so that the end is
	// waited for under `make soak` alone.
	slow bool
}

func (c cell) String() string { return c.block + "/" + c.way }

// The table: a way that is not here for a block does not apply to it, or changes
// nothing for what it keeps.
var cells = []cell{
	{block: "config", way: "wrong host", advice: "the name does not resolve"},
	{block: "config", way: "untrusted certificate", advice: "nobody whom this machine trusts"},
	{block: "config", way: "https to an http port", advice: "is https meant to be http"},
	{block: "config", way: "closed port", advice: "nobody listens at that address"},
	{block: "config", way: "401", advice: "does not know the credentials (401)"},
	{block: "config", way: "403", advice: "forbids it (403)"},
	{block: "config", way: "no space", advice: "is full: free some space", returned: true},
	{block: "config", way: "no inodes", advice: "has no inodes left", returned: true},
	{block: "config", way: "folder removed", advice: "the file is missing"},
	{block: "config", way: "file replaced", advice: "want keys at the top"},
	{block: "config", way: "lock held by a stopped process", advice: "lock", returned: true},

	{block: "logging", way: "wrong host", advice: "the name does not resolve"},
	{block: "logging", way: "untrusted certificate", advice: "nobody whom this machine trusts"},
	{block: "logging", way: "https to an http port", advice: "is https meant to be http"},
	{block: "logging", way: "closed port", advice: "nobody listens at that address"},
	{block: "logging", way: "401", advice: "does not know the credentials (401)"},
	{block: "logging", way: "403", advice: "forbids it (403)"},
	{block: "logging", way: "no space", lost: true, advice: "is full: free some space"},
	{block: "logging", way: "no inodes", advice: "has no inodes left"},
	{block: "logging", way: "folder removed", advice: "moved or removed by somebody else", heals: true, bound: 3 * time.Second},
	{block: "logging", way: "file replaced", advice: "moved or removed by somebody else", heals: true, bound: 3 * time.Second},
	{block: "logging", way: "nobody takes the message", advice: "refuses what was sent (400)"},
	{block: "logging", way: "lock held by a stopped process", advice: "kill -CONT"},

	{block: "notify", way: "wrong host", advice: "the name does not resolve"},
	{block: "notify", way: "untrusted certificate", advice: "nobody whom this machine trusts", slow: true},
	{block: "notify", way: "https to an http port", advice: "is https meant to be http", slow: true},
	{block: "notify", way: "closed port", advice: "nobody listens at that address"},
	{block: "notify", way: "401", advice: "does not know the credentials (401)", slow: true},
	{block: "notify", way: "403", advice: "forbids it (403)", slow: true},
	{block: "notify", way: "no space", lost: true, advice: "is full: free some space"},
	{block: "notify", way: "no inodes", advice: "has no inodes left"},
	{block: "notify", way: "folder removed", lost: true, advice: "was it, or a folder above it, removed", heals: true, bound: 3 * time.Second},
	{block: "notify", way: "file replaced", lost: true, advice: "was replaced by another file", heals: true, bound: 3 * time.Second},
	{block: "notify", way: "lock held by a stopped process", advice: "kill -CONT"},
	{block: "notify", way: "nobody takes the message", lost: true, advice: "refuses what was sent (400)"},

	{block: "scrape", way: "wrong host", advice: "the name does not resolve"},
	{block: "scrape", way: "untrusted certificate", advice: "nobody whom this machine trusts"},
	{block: "scrape", way: "https to an http port", advice: "is https meant to be http"},
	{block: "scrape", way: "closed port", advice: "nobody listens at that address"},
	{block: "scrape", way: "401", advice: "give user:password@ in its URL"},
	{block: "scrape", way: "403", advice: "the proxy forbids it (403)", returned: true},
	{block: "scrape", way: "no inodes", advice: "has no inodes left"},
	{block: "scrape", way: "folder removed", lost: true, advice: "was it, or a folder above it, removed", heals: true, bound: 3 * time.Second},
	{block: "scrape", way: "file replaced", lost: true, advice: "was replaced while the crawl went on", heals: true, bound: 3 * time.Second},
	{block: "scrape", way: "no space", lost: true, advice: "is full: free some space", bound: 3 * time.Second},
}

// TestTwelveWays makes each trouble for each block to which it applies. Check,
// OnError and Logger tell it within the bound, with what to do; where nothing is
// set, stderr does; it is told once, and once when it is over.
func TestTwelveWays(t *testing.T) {
	t.Parallel()
	netns.Require(t)

	// They wait more than they work, so that more of them run than there are
	// processors; those that wait longest begin first.
	const atOnce = 12
	order := make([]int, len(cells))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(cells[j].bound, cells[i].bound) })
	type outcome struct {
		out []byte
		err error
	}
	todo, outcomes := make(chan int, len(cells)), make([]chan outcome, len(cells))
	for _, i := range order {
		outcomes[i] = make(chan outcome, 1)
		todo <- i
	}
	close(todo)
	for range atOnce {
		go func() {
			for i := range todo {
				// A process of its own has its own stderr, mounts and resolver.
				cmd := testenv.Self("-test.run=^TestCell$", "-test.timeout=20m")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", cellVariable, i, cells[i]))
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
				out, err := cmd.CombinedOutput()
				outcomes[i] <- outcome{out, err}
			}
		}()
	}
	for i, c := range cells {
		t.Run(c.String(), func(t *testing.T) {
			if end := <-outcomes[i]; end.err != nil {
				t.Fatalf("%v\n%s", end.err, end.out)
			}
		})
	}
}

// TestCell is one cell; it is no test unless the variable names it.
func TestCell(t *testing.T) {
	number, name, _ := strings.Cut(testenv.Child(t, cellVariable, "TestTwelveWays"), " ")
	i := slices.IndexFunc(cells, func(c cell) bool { return c.String() == name })
	n, err := strconv.Atoi(number)
	if i < 0 || err != nil {
		t.Fatalf("no cell is called %q", name)
	}
	cells[i].run(t, n)
}

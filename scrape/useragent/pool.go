package useragent

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

// fileInterval is how often the file of a pool is looked at.
const fileInterval = 2 * time.Second

// Pool is a set of user agents to draw from. Make one with [Builtin], [Load]
// or [NewPool]; the zero Pool is empty and draws "". Safe for concurrent use.
type Pool struct {
	current atomic.Pointer[draw]
	source  string
	date    time.Time

	path    string
	nextNS  atomic.Int64 // when to look at the file again, Unix nanoseconds
	reload  sync.Mutex
	stamp   fileStamp
	lastErr atomic.Pointer[error]
}

// draw is one immutable state of a pool.
type draw struct {
	agents []string
	sums   []float64 // running sum of the weights; nil if all are equal
}

// fileStamp tells one state of a file from the next.
type fileStamp struct {
	size    int64
	modTime time.Time
}

// NewPool returns a pool of the given agents, each as likely as the others. It
// takes any printable text, browsers or not; it is an error if the list is
// empty or an agent cannot stand in a header.
func NewPool(agents ...string) (*Pool, error) {
	if len(agents) == 0 {
		return nil, named.Wrap("useragent", "new pool", ErrNoAgents)
	}
	entries := make([]Entry, 0, len(agents))
	for i, s := range agents {
		if err := valid(s); err != nil {
			return nil, named.Wrap("useragent", "", fmt.Errorf("new pool: agent %d: %w", i, err))
		}
		entries = append(entries, Entry{Agent: s})
	}
	p := &Pool{source: "code", date: time.Now()}
	p.store(merge(entries))
	return p, nil
}

// Load reads a pool from a file in any form that [Decode] knows, and follows
// the file: when it has changed, a draw at most 2 s later reads it anew. A
// changed file that cannot be read or holds a mistake leaves the pool as it
// was, and [Pool.Err] says why. There is nothing to close.
func Load(path string) (*Pool, error) {
	p := &Pool{source: path, path: path}
	if err := p.read(); err != nil {
		return nil, err
	}
	p.nextNS.Store(time.Now().Add(fileInterval).UnixNano())
	return p, nil
}

// GetRandom draws a user agent, by weight if the list has weights. It returns
// "" from the zero Pool.
func (p *Pool) GetRandom() string {
	p.follow()
	d := p.current.Load()
	if d == nil || len(d.agents) == 0 {
		return ""
	}
	if d.sums == nil {
		return d.agents[rand.IntN(len(d.agents))]
	}
	x := rand.Float64() * d.sums[len(d.sums)-1]
	i := sort.Search(len(d.sums)-1, func(i int) bool { return d.sums[i] > x })
	return d.agents[i]
}

// Agents returns a copy of the agents in the pool.
func (p *Pool) Agents() []string {
	p.follow()
	d := p.current.Load()
	if d == nil {
		return nil
	}
	return append([]string(nil), d.agents...)
}

// Len returns how many agents the pool holds.
func (p *Pool) Len() int {
	p.follow()
	if d := p.current.Load(); d != nil {
		return len(d.agents)
	}
	return 0
}

// Source says where the agents come from: a file's path, an edition of the
// built-in list, an address without its query, or "code".
func (p *Pool) Source() string {
	p.reload.Lock()
	defer p.reload.Unlock()
	return p.source
}

// Date says how old the list is: when the file was changed, the edition
// published, the address read, or the pool made.
func (p *Pool) Date() time.Time {
	p.reload.Lock()
	defer p.reload.Unlock()
	return p.date
}

// Err returns why the latest reading of the pool's file or address failed, nil
// once it has succeeded. The pool keeps what it last had.
func (p *Pool) Err() error {
	if err := p.lastErr.Load(); err != nil {
		return *err
	}
	return nil
}

// store makes entries what the pool draws from.
func (p *Pool) store(entries []Entry) {
	d := &draw{agents: make([]string, 0, len(entries))}
	weighted, total := false, 0.0
	for _, e := range entries {
		weighted = weighted || e.Weight > 0
	}

	for _, e := range entries {
		if weighted {
			if e.Weight <= 0 {
				continue
			}
			total += e.Weight
			d.sums = append(d.sums, total)
		}
		d.agents = append(d.agents, e.Agent)
	}

	p.current.Store(d)
}

// follow reads the file anew if it is time to look and it has changed. One
// caller does so, the others go on with what there is.
func (p *Pool) follow() {
	if p.path == "" {
		return
	}
	now := time.Now()
	next := p.nextNS.Load()
	if now.UnixNano() < next || !p.nextNS.CompareAndSwap(next, now.Add(fileInterval).UnixNano()) {
		return
	}
	err := p.read()
	if err == nil {
		p.lastErr.Store(nil)
	} else {
		p.lastErr.Store(&err)
	}
}

// read loads the file unless it is the one that was read last.
func (p *Pool) read() error {
	p.reload.Lock()
	defer p.reload.Unlock()
	file, err := os.Open(p.path)
	if err != nil {
		return named.Wrap("useragent", "", fmt.Errorf("load %s: %w", p.path, pathCause(err)))
	}
	defer func() { _ = file.Close() }() // only read

	info, err := file.Stat()
	if err != nil {
		return named.Wrap("useragent", "", fmt.Errorf("load %s: %w", p.path, pathCause(err)))
	}
	stamp := fileStamp{info.Size(), info.ModTime()}
	if stamp == p.stamp && p.current.Load() != nil {
		return p.Err()
	}

	data, err := io.ReadAll(io.LimitReader(file, maxListBytes+1))
	if err != nil {
		return named.Wrap("useragent", "", fmt.Errorf("load %s: %w", p.path, pathCause(err)))
	}
	p.stamp = stamp
	entries, err := Decode(data)
	if err != nil {
		return named.Wrap("useragent", "", fmt.Errorf("load %s: %w", p.path, err))
	}

	p.store(entries)
	p.date = stamp.modTime
	return nil
}

// pathCause drops the path that the os package repeats.
func pathCause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

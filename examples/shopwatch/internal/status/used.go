package status

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
	"github.com/svcblocks/svcblocks/scrape"
)

// maxUsed bounds the exits and the user agents that are remembered.
const maxUsed = 200

// Used remembers the exits and user agents that pages were fetched with, the
// latest ones. The zero Used is ready to use. It is safe for concurrent use.
type Used struct {
	mu     sync.Mutex
	exits  map[string]*use
	agents map[string]*use
}

type use struct {
	count    int64
	last     time.Time
	identity string
}

// OnPage is for scrape.Hooks.
func (u *Used) OnPage(p scrape.Page) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	note(&u.exits, exitName(p.Identity), now).identity = identityName(p.Identity)
	note(&u.agents, p.Agent, now)
}

// note counts one use of name, and forgets the one that was not used for
// longest where there are too many.
func note(m *map[string]*use, name string, now time.Time) *use {
	if *m == nil {
		*m = map[string]*use{}
	}

	x := (*m)[name]
	if x == nil {
		if len(*m) >= maxUsed {
			oldest := ""
			for n, o := range *m {
				if oldest == "" || o.last.Before((*m)[oldest].last) {
					oldest = n
				}
			}
			delete(*m, oldest)
		}
		x = &use{}
		(*m)[name] = x
	}

	x.count++
	x.last = now
	return x
}

// Exits returns the exits, the latest first.
func (u *Used) Exits(current scrape.Identity) []web.Exit {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []web.Exit
	for name, x := range u.exits {
		out = append(out, web.Exit{
			Address: name, Identity: x.identity, Requests: x.count, Last: x.last,
			Current: current.Number > 0 && name == exitName(current) && x.identity == identityName(current),
		})
	}
	slices.SortFunc(out, func(a, b web.Exit) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// Agents returns the user agents, the most used first.
func (u *Used) Agents() []web.Agent {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []web.Agent
	for name, x := range u.agents {
		out = append(out, web.Agent{Name: name, Requests: x.count, Last: x.last})
	}
	slices.SortFunc(out, func(a, b web.Agent) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func exitName(id scrape.Identity) string {
	switch {
	case id.Direct:
		return "direct"
	case id.Exit == "":
		return "unknown"
	}
	return id.Exit
}

// identityName is the end of the isolation key: enough to tell identities
// apart.
func identityName(id scrape.Identity) string {
	return id.Isolation[max(0, len(id.Isolation)-6):]
}

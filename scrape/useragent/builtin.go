package useragent

import (
	_ "embed"
	"sync"
	"time"
)

//go:embed data/top-user-agents.txt
var builtinText []byte

// The edition of the built-in list.
const builtinSource = "top-user-agents 2.1.138"

var builtinDate = time.Date(2026, time.September, 28, 0, 0, 0, 0, time.UTC)

// builtinList is the built-in list, read once.
type builtinList struct {
	entries []Entry
	newest  map[Family]int
}

var builtin = sync.OnceValue(func() builtinList {
	all, err := Decode(builtinText)
	if err != nil {
		panic("useragent: built-in list: " + err.Error()) // a test reads it
	}
	names := make([]string, 0, len(all))
	for _, e := range all {
		names = append(names, e.Agent)
	}
	list := builtinList{newest: newestVersions(names)}
	for _, e := range all {
		if alive(e.Agent, list.newest) {
			// The source is in the order of how common they are, without figures: a
			// share falls with the place in the list, as shares of browsers do.
			e.Weight = 1 / float64(len(list.entries)+1)
			list.entries = append(list.entries, e)
		}
	}
	return list
})

// Builtin returns a new pool of the agents that come with this package:
// browsers in use when the edition was published ([Pool.Source], [Pool.Date]),
// without the bots and the old versions that its source holds too. An
// [Updater] may replace what is in the pool.
func Builtin() *Pool {
	p := &Pool{source: builtinSource, date: builtinDate}
	p.store(builtin().entries)
	return p
}

package backoff

import (
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
)

// Retry says how often and after which waits something is tried. The Retry of
// each block's options has these fields, with its own defaults as tags, and
// converts to this type.
type Retry struct {
	// Attempts bounds the tries, the first one included. -1 for no limit.
	Attempts int
	// Base bounds the wait after the first failure. It doubles with each.
	Base time.Duration
	// Max bounds every wait.
	Max time.Duration
	// MaxElapsed bounds the time from the first try to the last. Negative for
	// no limit.
	MaxElapsed time.Duration
}

// Check returns what is wrong with r, whose defaults are filled in: each
// mistake by its field below the given one. What is 0 is not looked at.
func (r Retry) Check(field string) (wrong options.Mistakes) {
	if r.Attempts < -1 {
		wrong.Add(field+".Attempts", "%d is below -1: give a number of tries, or -1 for no limit", r.Attempts)
	}
	for _, wait := range []struct {
		name  string
		value time.Duration
	}{{"Base", r.Base}, {"Max", r.Max}} {
		if wait.value < 0 {
			wrong.Add(field+"."+wait.name, "%v is below 0: give a wait, or leave it out", wait.value)
		}
	}

	switch {
	case r.Max > 0 && r.Base > r.Max:
		wrong.Add(field+".Base", "%v is above Max, %v: give at most that, or a larger Max", r.Base, r.Max)
	case r.MaxElapsed > 0 && r.Base > r.MaxElapsed:
		wrong.Add(field+".MaxElapsed", "%v is below Base, %v: nothing would be tried again", r.MaxElapsed, r.Base)
	}
	return wrong
}

// Policy returns the waits.
func (r Retry) Policy() Policy { return Policy{Base: r.Base, Max: r.Max} }

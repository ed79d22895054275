package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// sequence makes the numbers of segments, which grow.
type sequence struct{ last time.Time }

const stampLayout = "20060102150405.000000"

func (s *sequence) next() string {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	return number(now, rand.IntN(numbers))
}

// numbers is how many numbers there are for one time.
const numbers = 1_000_000

// number returns the n-th number of a time.
func number(t time.Time, n int) string {
	return fmt.Sprintf("%s-%06d", strings.Replace(t.Format(stampLayout), ".", "", 1), n)
}

const (
	// firstYear is the first one that a clock which was set shows.
	firstYear = 2000
	// lastYear leaves room for sequences of the same length behind one that a
	// wrong clock made.
	lastYear = 9000
)

// after makes all further sequences greater than seq.
func (s *sequence) after(seq string) {
	if len(seq) < 20 {
		return
	}
	t, err := time.Parse(stampLayout, seq[:14]+"."+seq[14:20])
	if err != nil || t.Year() > lastYear {
		return // not by any clock
	}
	if t.After(s.last) {
		s.last = t
	}
}

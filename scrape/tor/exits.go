package tor

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// exitsAge is how long the count of exits is kept.
const exitsAge = 30 * time.Minute

// exitCount is how many exits the network has.
type exitCount struct {
	mu sync.Mutex
	n  int
	at time.Time
}

// get returns the count, from what status says of all relays if it is old.
func (e *exitCount) get(status func() (string, error)) (int, error) {
	e.mu.Lock()
	n, at := e.n, e.at
	e.mu.Unlock()
	if n > 0 && time.Since(at) < exitsAge {
		return n, nil
	}

	text, err := status()
	if err != nil {
		return 0, err
	}
	n = 0
	for line := range strings.Lines(text) {
		flags, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "s ")
		words := strings.Fields(flags)
		if ok && slices.Contains(words, "Exit") && slices.Contains(words, "Running") && !slices.Contains(words, "BadExit") {
			n++
		}
	}

	e.mu.Lock()
	e.n, e.at = n, time.Now()
	e.mu.Unlock()
	return n, nil
}

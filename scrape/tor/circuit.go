package tor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

// circuit is one line of circuit-status (control-spec §4.1.1).
type circuit struct {
	id     uint64
	status string
	path   []string // fingerprints
	fields map[string]string
}

// parseCircuit reads a line such as
//
//	7 BUILT $AAAA…~guard,$BBBB…~middle,$CCCC…~exit PURPOSE=GENERAL SOCKS_USERNAME="id"
//
// and reports false for anything else.
func parseCircuit(line string) (circuit, bool) {
	words := splitQuoted(line)
	if len(words) < 2 {
		return circuit{}, false
	}
	id, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil {
		return circuit{}, false
	}

	c := circuit{id: id, status: words[1], fields: map[string]string{}}
	for _, word := range words[2:] {
		if key, value, ok := strings.Cut(word, "="); ok && !strings.HasPrefix(word, "$") {
			c.fields[key] = value
			continue
		}
		if c.path != nil {
			return circuit{}, false
		}

		for hop := range strings.SplitSeq(word, ",") {
			hop, ok := strings.CutPrefix(hop, "$")
			if !ok {
				return circuit{}, false
			}
			fingerprint, _, _ := strings.Cut(hop, "~")
			fingerprint, _, _ = strings.Cut(fingerprint, "=")
			if fingerprint == "" || strings.Trim(fingerprint, "0123456789ABCDEFabcdef") != "" {
				return circuit{}, false
			}
			c.path = append(c.path, fingerprint)
		}
	}

	return c, true
}

// splitQuoted splits a line at spaces that are not within quotes, and removes
// the quotes and the backslashes within.
func splitQuoted(line string) []string {
	var (
		words          []string
		word           strings.Builder
		quoted, inWord bool
	)
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '"':
			quoted, inWord = !quoted, true
		case ch == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case ch == ' ' && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(ch)
			inWord = true
		}
	}

	if inWord {
		words = append(words, word.String())
	}
	return words
}

// exitPurposes are those of circuits that streams leave by.
var exitPurposes = []string{"", "GENERAL", "CONFLUX_LINKED"}

// Exit returns the fingerprint of the exit that connections of the isolation
// key leave by: that of its newest open circuit. Errors: [ErrNoControl],
// [ErrNoCircuit] before the first connection or Warm under this key, and those
// of the control port.
func (t *Tor) Exit(ctx context.Context, isolation string) (string, error) {
	control, err := t.controlAt(ctx)
	if err != nil {
		return "", named.Wrap("tor", "exit", err)
	}
	circuits, err := control.circuits(ctx)
	if err != nil {
		return "", named.Wrap("tor", "exit", err)
	}

	var newest circuit
	for _, c := range circuits {
		if c.status == "BUILT" && len(c.path) > 0 && c.fields["SOCKS_USERNAME"] == isolation && c.id >= newest.id &&
			slices.Contains(exitPurposes, c.fields["PURPOSE"]) {
			newest = c
		}
	}

	if len(newest.path) == 0 {
		return "", named.Wrap("tor", "", fmt.Errorf("exit: %w of this identity is open", ErrNoCircuit))
	}
	return newest.path[len(newest.path)-1], nil
}

// Exits returns how many exits the network has, as Tor knows it. The answer is
// kept for half an hour.
func (t *Tor) Exits(ctx context.Context) (int, error) {
	control, err := t.controlAt(ctx)
	if err != nil {
		return 0, named.Wrap("tor", "exits", err)
	}
	t.mu.Lock()
	n, at := t.exits, t.exitsAt
	t.mu.Unlock()

	if n > 0 && time.Since(at) < exitsAge {
		return n, nil
	}
	info, err := control.info(ctx, "ns/all")
	if err != nil {
		return 0, named.Wrap("tor", "exits", err)
	}

	n = 0
	for line := range strings.Lines(info["ns/all"]) {
		flags, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "s ")
		words := strings.Fields(flags)
		if ok && slices.Contains(words, "Exit") && slices.Contains(words, "Running") && !slices.Contains(words, "BadExit") {
			n++
		}
	}

	t.mu.Lock()
	t.exits, t.exitsAt = n, time.Now()
	t.mu.Unlock()
	return n, nil
}

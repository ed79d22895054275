package tor

import (
	"slices"
	"strconv"
	"strings"
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

// exitOfKey returns the exit of the newest open circuit of an isolation key, ""
// if there is none.
func exitOfKey(circuits []circuit, isolation string) string {
	var newest circuit
	for _, c := range circuits {
		if c.status == "BUILT" && len(c.path) > 0 && c.fields["SOCKS_USERNAME"] == isolation && c.id >= newest.id &&
			slices.Contains(exitPurposes, c.fields["PURPOSE"]) {
			newest = c
		}
	}
	if len(newest.path) == 0 {
		return ""
	}
	return newest.path[len(newest.path)-1]
}

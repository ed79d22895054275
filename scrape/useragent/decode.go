package useragent

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

// Limits on what a list may be.
const (
	maxListBytes  = 20 << 20
	maxAgentBytes = 512
	maxWeight     = 1e9
)

// ErrNoAgents reports a list in which no user agent was found.
var ErrNoAgents = errors.New("useragent: no user agent found")

// Entry is one user agent with its share of the pool.
type Entry struct {
	// Agent is the user agent string.
	Agent string
	// Weight is its share relative to the other entries. 0 counts as 1 if no
	// entry of the list has a weight, and as never if some have.
	Weight float64
}

// Decode reads a list of user agents in any of six forms, which it tells apart
// by the first character and, for CSV, by the first line:
//
//   - text: one agent per line; empty lines and lines that begin with # are
//     passed over
//   - CSV with a head line that names a column user_agent, useragent or ua, and
//     perhaps one weight, percent, count or times_seen
//   - a JSON array of strings
//   - a JSON array of objects with "userAgent", "useragent", "user_agent" or
//     "ua", and optionally "weight" or "percent"
//   - JSON lines: such an object on each line
//   - HTML: the agents beginning with "Mozilla/5.0 (" that are the whole text
//     of an element
//
// A malformed entry of a text, CSV or JSON list is an error that says which; text
// in HTML that is no agent is passed over. Equal entries are merged and their
// weights added. Errors: [ErrNoAgents] among others.
func Decode(data []byte) ([]Entry, error) {
	if len(data) > maxListBytes {
		return nil, fmt.Errorf("useragent: decode: list has %d bytes, more than %d", len(data), maxListBytes)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	trimmed := bytes.TrimSpace(data)

	var (
		entries []Entry
		err     error
	)
	switch {
	case len(trimmed) > 0 && trimmed[0] == '[':
		entries, err = decodeJSON(trimmed)
	case len(trimmed) > 0 && trimmed[0] == '{':
		entries, err = decodeLines(trimmed)
	case len(trimmed) > 0 && trimmed[0] == '<':
		entries = decodeHTML(string(trimmed))
	case isCSV(trimmed):
		entries, err = decodeCSV(trimmed)
	default:
		entries, err = decodeText(string(data))
	}

	if err != nil {
		return nil, named.Wrap("useragent", "decode", err)
	}
	if entries = merge(entries); len(entries) == 0 {
		return nil, named.Wrap("useragent", "decode", ErrNoAgents)
	}
	return entries, nil
}

func decodeText(text string) ([]Entry, error) {
	var entries []Entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := cmp.Or(valid(line), plainLine(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		entries = append(entries, Entry{Agent: line})
	}
	return entries, nil
}

// plainLine refuses a line of text that holds more than an agent: a quoted
// field, a number, a list's dash, the name of the header.
func plainLine(line string) error {
	at := strings.Index(line, "Mozilla/")
	if at > 0 || strings.HasPrefix(strings.ToLower(line), "user-agent:") {
		return fmt.Errorf("%q stands before the user agent: write one agent per line and nothing else, or CSV with a head line", line[:max(at, 1)])
	}
	if strings.ContainsAny(line, "\"'&") && (strings.HasSuffix(line, "\"") || strings.HasSuffix(line, ",") || strings.HasPrefix(line, "\"") || strings.HasPrefix(line, "&")) {
		return fmt.Errorf("%q is quoted: write one agent per line and nothing else, or CSV with a head line", line)
	}
	return nil
}

// agentColumns and weightColumns are the names of columns and keys that are
// read, in lower case.
var (
	agentColumns  = []string{"useragent", "user_agent", "user-agent", "ua"}
	weightColumns = []string{"weight", "percent", "count", "times_seen"}
)

// isCSV reports whether the first line is a head line that names a column of
// agents.
func isCSV(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	for field := range strings.SplitSeq(string(line), ",") {
		if slices.Contains(agentColumns, strings.ToLower(strings.Trim(strings.TrimSpace(field), `"`))) {
			return true
		}
	}
	return false
}

func decodeCSV(data []byte) ([]Entry, error) {
	r := csv.NewReader(bytes.NewReader(data))
	head, err := r.Read()
	if err != nil {
		return nil, err
	}

	agent, weight := -1, -1
	for i, name := range head {
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case agent < 0 && slices.Contains(agentColumns, name):
			agent = i
		case weight < 0 && slices.Contains(weightColumns, name):
			weight = i
		}
	}

	var entries []Entry
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err // it names the line
		}

		line, _ := r.FieldPos(agent)
		e := Entry{Agent: strings.TrimSpace(row[agent])}
		if err := valid(e.Agent); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}

		if weight >= 0 {
			text := strings.TrimSuffix(strings.TrimSpace(row[weight]), "%")
			if e.Weight, err = strconv.ParseFloat(text, 64); err != nil || !(e.Weight >= 0 && e.Weight <= maxWeight) {
				return nil, fmt.Errorf("line %d: weight %q: must be a number from 0 to %g", line, row[weight], maxWeight)
			}
		}
		entries = append(entries, e)
	}
}

// decodeLines reads JSON lines.
func decodeLines(data []byte) ([]Entry, error) {
	var entries []Entry
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		e, err := decodeElement(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w: write an array of strings or of objects, or an object with \"useragent\" on each line", number, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// decodeElement reads a string or an object.
func decodeElement(raw []byte) (Entry, error) {
	var e Entry
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &e.Agent); err != nil {
			return e, err
		}
		return e, valid(e.Agent)
	}

	var object struct {
		UserAgent string  `json:"userAgent"` // in any case
		UA        string  `json:"ua"`
		Snake     string  `json:"user_agent"`
		Weight    float64 `json:"weight"`
		Percent   float64 `json:"percent"`
	}

	if err := json.Unmarshal(raw, &object); err != nil {
		return e, err
	}
	e = Entry{Agent: cmp.Or(object.UserAgent, object.UA, object.Snake), Weight: cmp.Or(object.Weight, object.Percent)}
	if err := valid(e.Agent); err != nil {
		return e, err
	}

	if e.Weight < 0 || e.Weight > maxWeight || math.IsNaN(e.Weight) {
		return e, fmt.Errorf("weight %v: must be from 0 to %g", e.Weight, maxWeight)
	}
	return e, nil
}

func decodeJSON(data []byte) ([]Entry, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for i, raw := range list {
		e, err := decodeElement(raw)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// decodeHTML takes the text between tags: no tree is needed to find a string
// that fills an element.
func decodeHTML(page string) []Entry {
	var entries []Entry
	for page != "" {
		_, rest, ok := strings.Cut(page, ">")
		if !ok {
			break
		}

		text, next, _ := strings.Cut(rest, "<")
		page = next
		text = strings.TrimSpace(text)
		if !strings.HasPrefix(text, "Mozilla/5.0 (") {
			continue
		}
		text = strings.TrimSpace(html.UnescapeString(text))
		for line := range strings.Lines(text) { // <pre> holds one per line
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "Mozilla/5.0 (") && valid(line) == nil {
				entries = append(entries, Entry{Agent: line})
			}
		}
	}

	return entries
}

// merge adds up the weights of equal entries, in order of first appearance.
func merge(entries []Entry) []Entry {
	index := make(map[string]int, len(entries))
	out := entries[:0:0]
	for _, e := range entries {
		if i, ok := index[e.Agent]; ok {
			out[i].Weight += e.Weight
			continue
		}
		index[e.Agent] = len(out)
		out = append(out, e)
	}
	return out
}

// valid reports what is wrong with s as the value of a User-Agent header.
func valid(s string) error {
	if s == "" {
		return errors.New("empty user agent")
	}
	if len(s) > maxAgentBytes {
		return fmt.Errorf("user agent has %d bytes, more than %d", len(s), maxAgentBytes)
	}

	depth := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return fmt.Errorf("user agent holds the byte %#x at position %d: only printable ASCII may stand in a header", c, i)
		case c == '(':
			depth++
		case c == ')':
			depth--
		}
		if depth < 0 {
			break
		}
	}

	if depth != 0 {
		return fmt.Errorf("user agent %q has unbalanced parentheses: was it cut?", s)
	}
	return nil
}

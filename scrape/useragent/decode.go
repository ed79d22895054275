package useragent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"strings"
)

// Limits on what a list may be.
const (
	maxListBytes  = 20 << 20
	maxAgentBytes = 512
	maxWeight     = 1e9
)

// ErrNoAgents reports a list in which no user agent was found.
var ErrNoAgents = errors.New("no user agent found")

// Entry is one user agent with its share of the pool.
type Entry struct {
	// Agent is the user agent string.
	Agent string
	// Weight is its share relative to the other entries. 0 counts as 1 if no
	// entry of the list has a weight, and as never if some have.
	Weight float64
}

// Decode reads a list of user agents in any of four forms, which it tells
// apart by the first character:
//
//   - text: one agent per line; empty lines and lines that begin with # are
//     passed over
//   - a JSON array of strings
//   - a JSON array of objects with "userAgent", "ua" or "user_agent", and
//     optionally "weight"
//   - HTML: the agents beginning with "Mozilla/5.0 (" that are the whole text
//     of an element
//
// A malformed entry of a text or JSON list is an error that says which; text
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
		err = errors.New("a JSON object: write an array of strings or of objects")
	case len(trimmed) > 0 && trimmed[0] == '<':
		entries = decodeHTML(string(trimmed))
	default:
		entries, err = decodeText(string(data))
	}
	if err != nil {
		return nil, fmt.Errorf("useragent: decode: %w", err)
	}
	if entries = merge(entries); len(entries) == 0 {
		return nil, fmt.Errorf("useragent: decode: %w", ErrNoAgents)
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
		if err := valid(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		entries = append(entries, Entry{Agent: line})
	}
	return entries, nil
}

func decodeJSON(data []byte) ([]Entry, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for i, raw := range list {
		var e Entry
		if len(raw) > 0 && raw[0] == '"' {
			if err := json.Unmarshal(raw, &e.Agent); err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
		} else {
			var object struct {
				UserAgent string  `json:"userAgent"`
				UA        string  `json:"ua"`
				Snake     string  `json:"user_agent"`
				Weight    float64 `json:"weight"`
			}
			if err := json.Unmarshal(raw, &object); err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			e = Entry{Agent: object.UserAgent, Weight: object.Weight}
			for _, other := range []string{object.UA, object.Snake} {
				if e.Agent == "" {
					e.Agent = other
				}
			}
		}
		if err := valid(e.Agent); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		if e.Weight < 0 || e.Weight > maxWeight || math.IsNaN(e.Weight) {
			return nil, fmt.Errorf("element %d: weight %v: must be from 0 to %g", i, e.Weight, maxWeight)
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

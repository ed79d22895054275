package doc

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// yamlWords are the words of the YAML library's messages. All others are the
// document's, which may hold secrets: they are left out.
const yamlWords = " " +
	"a alias aliases allowed alphabetic an anchor and any are area array as at block break but cannot character " +
	"characters code collection comment contains context control could decode depth did digit directive document " +
	"duplicate end entries equal escape escaped event exceeded excessive expected extremely find for found handle " +
	"hexdecimal in incompatible incomplete incorrect indentation indicator input invalid is it key keys kind " +
	"leading length level line long low map mapping maps max merge more name next node not number numeric octet of " +
	"one or pair parser parsing past plain problem quoted referenced required requires scalar scanning sequence " +
	"settings simple space start state stream surrogate tab tag text that the this to token trailing undefined " +
	"unexpected unicode unknown uri utf-16 utf-8 value values version violates where while whitespace with within " +
	"yaml content after non-alphabetical %tag %yaml - ] } , : ! ? > . 0 <stream-start> <document start> "

// parserMessages are those of the library's grammar. It counts their lines from
// 0, those of all others from 1.
var parserMessages = regexp.MustCompile(`^(did not find expected (<|node content|'-' indicator|key|',' or)|found undefined tag handle|found duplicate %|found incompatible YAML)`)

// yamlMistake says what is wrong in a document that the library refused, and
// where. The library names the line of the first context that it has, and no
// column.
func yamlMistake(data []byte, err error) Mistake {
	named, message := yamlErrorLine(err)
	at := func(line int, find func(text []byte) int) (int, int) {
		line, text := lineOf(data, line)
		i := find(text)
		if i < 0 {
			i = len(text) - len(bytes.TrimLeft(text, " \t"))
		}
		return line, utf8.RuneCount(text[:i]) + 1
	}
	anywhere := func(find func(text []byte) int) (int, int) {
		line := 0
		for text := range bytes.SplitSeq(data, []byte("\n")) {
			if line++; find(text) >= 0 {
				return at(line, find)
			}
		}
		return at(1, find)
	}

	var m Mistake
	switch {
	case strings.HasPrefix(message, "unknown anchor '"), strings.HasPrefix(message, "anchor '"):
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(message, "unknown "), "anchor '"), "'")
		m.Line, m.Column = anywhere(func(text []byte) int { return bytes.Index(text, []byte("*"+name)) })
		m.Message, m.Hint = "an alias that names no anchor before it", "quote a value that begins with *"
		if strings.HasPrefix(message, "anchor") {
			m.Message, m.Hint = "an alias within the anchor that it names", ""
		}
	case strings.Contains(message, "control characters"):
		m.Line, m.Column = anywhere(func(text []byte) int {
			return bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' || r == 0x7f })
		})
		m.Message, m.Hint = "a control character", `write it as an escape in double quotes, such as "\u0007"`
	case parserMessages.MatchString(message):
		m.Line, m.Column = at(noticedAt(data, named+1, message), func([]byte) int { return -1 })
		m.Message = ownWords(message)
	default:
		line := yamlLine(data)
		m.Line, m.Column = at(line, func(text []byte) int { return causeIn(message, text) })
		m.Message = ownWords(message)
	}

	if m.Hint == "" {
		m.Hint = yamlHint(message)
	}
	m.Message = "invalid YAML: " + m.Message
	return m
}

// lineOf returns a line of data, or its first or last where line is none of
// them.
func lineOf(data []byte, line int) (int, []byte) {
	n := 0
	var last []byte
	for text := range bytes.SplitSeq(data, []byte("\n")) {
		n, last = n+1, text
		if n >= line {
			break
		}
	}
	return n, last
}

// yamlLine is the line that the library names. It says nothing of the first
// one, so that the document is read again with a line before it.
func yamlLine(data []byte) int {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	_, err := yamlDocument(append([]byte("\n"), data...))
	if err == nil {
		return 1
	}
	line, _ := yamlErrorLine(err)
	return line - 1
}

// maxBisected is the size up to which the place of a mistake is searched, in
// bytes: the document is read again for each step.
const maxBisected = 256 << 10

// noticedAt is the first line up to which the document has the mistake: the
// library names the line where the list or section began, which is what a
// document beyond maxBisected gets.
func noticedAt(data []byte, named int, message string) int {
	if len(data) > maxBisected {
		return named
	}

	lines := bytes.Split(data, []byte("\n"))
	low, high := 0, len(lines)
	for high-low > 1 {
		mid := (low + high) / 2
		_, err := yamlDocument(bytes.Join(lines[:mid], []byte("\n")))
		if err == nil {
			low = mid
			continue
		}
		if _, m := yamlErrorLine(err); m == message {
			high = mid
		} else {
			low = mid
		}
	}

	if high == len(lines) && high > 1 && len(bytes.TrimSpace(lines[high-1])) == 0 {
		high-- // the line break at the end
	}
	return high
}

// causeIn finds what a message is about in its line, or returns -1.
func causeIn(message string, text []byte) int {
	switch {
	case strings.Contains(message, "mapping values"):
		seen := false
		for i, c := range text {
			if c == ':' && (i+1 == len(text) || text[i+1] == ' ') {
				if seen {
					return i
				}
				seen = true
			}
		}
	case strings.Contains(message, "cannot start any token"):
		return bytes.IndexAny(text, "@`%\t")
	case strings.Contains(message, "end of stream"), strings.Contains(message, "document indicator"), strings.Contains(message, "escape"):
		return bytes.IndexAny(text, `'"`)
	}

	return -1
}

// ownWords leaves out of a message what is no word of the library's.
func ownWords(message string) string {
	known := func(w string) bool { return w != "" && strings.Contains(yamlWords, " "+strings.ToLower(w)+" ") }
	words := strings.Fields(message)
	for i, w := range words {
		if w = strings.Trim(w, "'"); !known(w) && !known(strings.TrimRight(w, ",.;")) {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

// shownRune matches the character that a message of the TOML library shows: a
// letter of a secret is one too.
var shownRune = regexp.MustCompile(`( but got)?:? U\+[0-9A-F]+( '[^']*'?)?`)

// tomlMistake says what is wrong in the library's words, without the
// document's, and what to do.
func tomlMistake(message string) (text, hint string) {
	text = shownRune.ReplaceAllString(message, "")
	switch {
	case strings.Contains(text, "strings must be quoted"), strings.Contains(text, "at start of value"), strings.Contains(text, "expected keyword"),
		strings.Contains(text, "incomplete number"), strings.Contains(text, "expected digit"), strings.HasPrefix(text, "expected value"):
		hint = "strings stand in quotes, and the words are true, false"
	case strings.Contains(text, "expected '=' after key"):
		hint = "a key and its value have = between them"
	case strings.Contains(text, "unterminated"), strings.Contains(text, "cannot have new lines"), strings.Contains(text, "not terminated"):
		hint = `close it with a quote; text of several lines stands in """`
	case strings.Contains(text, "inline table"), strings.Contains(text, "expected newline"):
		hint = "one key a line; an inline table stands on one line"
	case strings.Contains(text, "invalid escape"), strings.Contains(text, "escape sequence"):
		hint = `a backslash is written \\, or use single quotes`
	case strings.Contains(text, "start of key"):
		hint = "a key with other characters than letters, digits, _ and - stands in quotes"
	}

	if i := strings.IndexByte(text, '"'); i >= 0 && strings.HasPrefix(text, "expected keyword") {
		text = "want a value"
	}
	return text, hint
}

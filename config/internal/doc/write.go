package doc

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// JSONText writes a tree as JSON on one line.
func JSONText(n *Node) (string, error) {
	switch n.Kind {
	case Null:
		return "null", nil
	case Text:
		if n.Plain {
			if n.Text == "true" || n.Text == "false" || IsJSONNumber(n.Text) {
				return n.Text, nil
			}
			return "", fmt.Errorf("JSON has no number %s", n.Text)
		}
		return QuoteJSON(n.Text), nil
	}
	parts := make([]string, len(n.Items))
	for i, item := range n.Items {
		text, err := JSONText(item)
		if err != nil {
			return "", err
		}
		if n.Kind == Map {
			text = QuoteJSON(n.Names[i].Text) + ": " + text
		}
		parts[i] = text
	}
	if n.Kind == Map {
		return "{" + strings.Join(parts, ", ") + "}", nil
	}
	return "[" + strings.Join(parts, ", ") + "]", nil
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// IsJSONNumber reports whether JSON writes a number so.
func IsJSONNumber(text string) bool { return jsonNumber.MatchString(text) }

// QuoteJSON quotes for JSON and for YAML, which reads the same escapes, and
// leaves <, > and & as they are.
func QuoteJSON(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == 0xfffe || r == 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlText writes a tree as TOML on one line.
func tomlText(n *Node) (string, error) {
	switch n.Kind {
	case Null:
		return "", errors.New("TOML has no null")
	case Text:
		if n.Plain {
			return tomlNumber(n.Text), nil
		}
		return QuoteJSON(n.Text), nil
	}
	parts := make([]string, len(n.Items))
	for i, item := range n.Items {
		text, err := tomlText(item)
		if err != nil {
			return "", err
		}
		if n.Kind == Map {
			text = tomlKey(n.Names[i].Text) + " = " + text
		}
		parts[i] = text
	}
	if n.Kind == Map {
		return "{ " + strings.Join(parts, ", ") + " }", nil
	}
	return "[" + strings.Join(parts, ", ") + "]", nil
}

func tomlNumber(text string) string {
	switch strings.ToLower(text) {
	case "nan":
		return "nan"
	case "+inf", "inf":
		return "inf"
	case "-inf":
		return "-inf"
	}
	return text
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func tomlKey(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return QuoteJSON(key)
}

// yamlText writes a tree as YAML on one line, lists and maps in flow style.
// quote is the style to keep: '"', '\” or 0 for none.
func yamlText(n *Node, quote byte, flow bool) string {
	switch n.Kind {
	case Null:
		return "null"
	case Text:
		if n.Plain && quote == 0 {
			return yamlNumber(n.Text)
		}
		return yamlString(n.Text, quote, flow)
	}
	parts := make([]string, len(n.Items))
	for i, item := range n.Items {
		parts[i] = yamlText(item, 0, true)
		if n.Kind == Map {
			parts[i] = yamlString(n.Names[i].Text, 0, true) + ": " + parts[i]
		}
	}
	if n.Kind == Map {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func yamlNumber(text string) string {
	switch strings.ToLower(text) {
	case "nan":
		return ".nan"
	case "+inf", "inf":
		return ".inf"
	case "-inf":
		return "-.inf"
	}
	return text
}

func yamlString(text string, quote byte, flow bool) string {
	control := strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r >= 0xfffe && r <= 0xffff
	})
	switch {
	case quote == '\'' && !control:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case quote == 0 && !control && yamlPlain(text, flow):
		return text
	}
	return QuoteJSON(text)
}

var (
	plainStart = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9 _./@+:%=?&~$()-]*$`)
	plainFlow  = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9 _./@+%=~$()-]*$`)
	plainUnit  = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?[A-Za-zµ][A-Za-z0-9.µ]*$`)
)

// yamlPlain reports whether text needs no quotes, for YAML 1.1 and 1.2 readers
// alike.
func yamlPlain(text string, flow bool) bool {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", "":
		return false
	}
	if strings.HasSuffix(text, " ") || strings.HasSuffix(text, ":") || strings.Contains(text, ": ") || strings.Contains(text, " #") {
		return false
	}
	if plainUnit.MatchString(text) {
		_, intErr := strconv.ParseInt(text, 0, 64)
		f, floatErr := strconv.ParseFloat(text, 64)
		return intErr != nil && floatErr != nil && !math.IsInf(f, 0)
	}
	if flow {
		return plainFlow.MatchString(text)
	}
	return plainStart.MatchString(text)
}

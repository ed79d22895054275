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
			for _, text := range []string{n.Text, plainWord(n)} {
				if text == "true" || text == "false" || IsJSONNumber(text) {
					return text, nil
				}
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
			return tomlWord(plainWord(n)), nil
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

// tomlWord gives the odd floats their names in TOML.
func tomlWord(text string) string {
	switch text {
	case ".nan":
		return "nan"
	case ".inf":
		return "inf"
	case "-.inf":
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
// quote is the quotation mark to keep, or 0 for none.
func yamlText(n *Node, quote byte, flow bool) string {
	switch n.Kind {
	case Null:
		return "null"
	case Text:
		if n.Plain && quote == 0 {
			return plainWord(n)
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

// everyNumber matches the numbers that all readers see alike. YAML 1.1 wants a
// point in a float, and a sign in its exponent.
var everyNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-][0-9]+)?)?$`)

// plainWord writes a number or a boolean so that all readers see the same type
// and value: hexadecimal and grouped digits, which some take for text, become
// decimal ones.
func plainWord(n *Node) string {
	if everyNumber.MatchString(n.Text) {
		return n.Text
	}

	switch v := n.Any().(type) {
	case bool, int64, uint64:
		return fmt.Sprint(v)
	case float64:
		switch {
		case math.IsNaN(v):
			return ".nan"
		case math.IsInf(v, 1):
			return ".inf"
		case math.IsInf(v, -1):
			return "-.inf"
		}
		text := strconv.FormatFloat(v, 'g', -1, 64)
		mantissa, exponent, found := strings.Cut(text, "e")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		if found {
			mantissa += "e" + exponent
		}
		return mantissa
	}

	return n.Text
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

// yamlValue writes a value behind a key or dash in a block at indent.
func yamlValue(n *Node, indent int, flow bool) string {
	if n.Kind == Text && !n.Plain && strings.Contains(strings.TrimRight(n.Text, "\n"), "\n") {
		if text, ok := blockScalar(n.Text, '|', indent+2); ok {
			return text
		}
	}
	return yamlText(n, 0, flow)
}

// yamlMembers writes the keys of a section as block lines.
func yamlMembers(n *Node, indent int) string {
	lines := make([]string, len(n.Items))
	for i, k := range n.Names {
		lines[i] = yamlMember(k.Text, n.Items[i], indent)
	}
	return strings.Join(lines, "\n")
}

func yamlMember(name string, n *Node, indent int) string {
	line := strings.Repeat(" ", indent) + yamlString(name, 0, false) + ":"
	switch {
	case n.Kind == Map && len(n.Items) > 0:
		return line + "\n" + yamlMembers(n, indent+2)
	case sections(n):
		return line + "\n" + yamlItems(n, indent+2)
	}
	return line + " " + yamlValue(n, indent, false)
}

// yamlItems writes a list of sections as block lines.
func yamlItems(n *Node, indent int) string {
	lines := make([]string, len(n.Items))
	for i, item := range n.Items {
		lines[i] = strings.Repeat(" ", indent) + "- " + strings.TrimLeft(yamlMembers(item, indent+2), " ")
	}
	return strings.Join(lines, "\n")
}

// blockScalar writes text as a literal (|) or folded (>) scalar whose lines
// stand at indent, or reports that it cannot.
func blockScalar(text string, style byte, indent int) (string, bool) {
	body := strings.TrimRight(text, "\n")
	if body == "" || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && unprintable(r) }) {
		return "", false
	}

	lines := strings.Split(body, "\n")
	for _, line := range lines {
		// A first line that begins with a space would set the indent, and what
		// folds a line is told from its first character.
		if (style == '>' || line == lines[0]) && strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") || line != "" && strings.TrimRight(line, " \t") == "" {
			return "", false
		}
	}

	if lines[0] == "" {
		return "", false
	}

	chomp := ""
	switch trailing := len(text) - len(body); {
	case trailing == 0:
		chomp = "-"
	case trailing > 1:
		return "", false // its empty lines would look like the document's own
	}

	var out strings.Builder
	out.WriteByte(style)
	out.WriteString(chomp)

	for i, line := range lines {
		if style == '>' && i > 0 && line != "" {
			out.WriteByte('\n') // one break alone would be read as a space
		}
		out.WriteByte('\n')
		if line != "" {
			out.WriteString(strings.Repeat(" ", indent) + line)
		}
	}

	return out.String(), true
}

// unprintable reports a character that YAML and TOML want escaped.
func unprintable(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r >= 0xfffe && r <= 0xffff
}

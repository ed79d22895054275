package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// encode turns a Go value into a tree that a file can hold.
func encode(rv reflect.Value, s *shape) (*node, error) {
	switch s.code {
	case codePointer:
		if rv.IsNil() {
			return &node{kind: nullNode}, nil
		}
		return encode(rv.Elem(), s.elem)
	case codeBool, codeInt, codeUint, codeFloat:
		return &node{kind: textNode, plain: true, text: plainText(rv, s)}, nil
	case codeSlice, codeArray:
		n := &node{kind: listNode}
		for i := range rv.Len() {
			item, err := encode(rv.Index(i), s.elem)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	case codeMap:
		n := &node{kind: mapNode}
		keys := make(map[string]reflect.Value, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			keys[plainText(it.Key(), s.key)] = it.Key()
		}
		for _, k := range sortedKeys(keys) {
			item, err := encode(rv.MapIndex(keys[k]), s.elem)
			if err != nil {
				return nil, err
			}
			n.put(name{text: k}, item)
		}
		return n, nil
	case codeStruct:
		n := &node{kind: mapNode}
		for _, k := range sortedKeys(s.str.names) {
			f := s.str.names[k]
			fv, ok := readPath(rv, f.path)
			if !ok || fv.IsZero() {
				continue
			}
			item, err := encode(fv, f.shape)
			if err != nil {
				return nil, err
			}
			n.put(name{text: k}, item)
		}
		return n, nil
	case codeAny:
		return encodeAny(rv)
	case codeSecret:
		return nil, errSecretInFile
	case codeText:
		if u, ok := rv.Interface().(URL); ok && u.User != nil {
			if _, has := u.User.Password(); has {
				return nil, errSecretInFile
			}
		}
	}
	return &node{kind: textNode, text: plainText(rv, s)}, nil
}

func encodeAny(rv reflect.Value) (*node, error) {
	if !rv.IsValid() || rv.Kind() == reflect.Interface && rv.IsNil() {
		return &node{kind: nullNode}, nil
	}
	n := fromAny(&layer{}, rv.Interface())
	var bad func(n *node) error
	bad = func(n *node) error {
		if n.kind == textNode && strings.HasPrefix(n.text, "0x") && n.plain {
			return errors.New("a pointer")
		}
		for _, item := range n.items {
			if err := bad(item); err != nil {
				return err
			}
		}
		return nil
	}
	return n, bad(n)
}

// jsonText writes a tree as JSON on one line.
func jsonText(n *node) (string, error) {
	switch n.kind {
	case nullNode:
		return "null", nil
	case textNode:
		if n.plain {
			if n.text == "true" || n.text == "false" || isJSONNumber(n.text) {
				return n.text, nil
			}
			return "", fmt.Errorf("JSON has no number %s", n.text)
		}
		return quoteJSON(n.text), nil
	}
	parts := make([]string, len(n.items))
	for i, item := range n.items {
		text, err := jsonText(item)
		if err != nil {
			return "", err
		}
		if n.kind == mapNode {
			text = quoteJSON(n.names[i].text) + ": " + text
		}
		parts[i] = text
	}
	if n.kind == mapNode {
		return "{" + strings.Join(parts, ", ") + "}", nil
	}
	return "[" + strings.Join(parts, ", ") + "]", nil
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func isJSONNumber(text string) bool { return jsonNumber.MatchString(text) }

// quoteJSON quotes for JSON and for YAML, which reads the same escapes, and
// leaves <, > and & as they are.
func quoteJSON(text string) string {
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
func tomlText(n *node) (string, error) {
	switch n.kind {
	case nullNode:
		return "", errors.New("TOML has no null")
	case textNode:
		if n.plain {
			return tomlNumber(n.text), nil
		}
		return quoteJSON(n.text), nil
	}
	parts := make([]string, len(n.items))
	for i, item := range n.items {
		text, err := tomlText(item)
		if err != nil {
			return "", err
		}
		if n.kind == mapNode {
			text = tomlKey(n.names[i].text) + " = " + text
		}
		parts[i] = text
	}
	if n.kind == mapNode {
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
	return quoteJSON(key)
}

// yamlText writes a tree as YAML on one line, lists and maps in flow style.
// quote is the style to keep: '"', '\” or 0 for none.
func yamlText(n *node, quote byte, flow bool) string {
	switch n.kind {
	case nullNode:
		return "null"
	case textNode:
		if n.plain && quote == 0 {
			return yamlNumber(n.text)
		}
		return yamlString(n.text, quote, flow)
	}
	parts := make([]string, len(n.items))
	for i, item := range n.items {
		parts[i] = yamlText(item, 0, true)
		if n.kind == mapNode {
			parts[i] = yamlString(n.names[i].text, 0, true) + ": " + parts[i]
		}
	}
	if n.kind == mapNode {
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
	return quoteJSON(text)
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

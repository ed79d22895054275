package config

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// DotEnv adds the variables of a .env file, such as [EnvExample] writes, under
// the prefix of the [Env] layer. It goes before Env, so that the environment
// wins. A missing file sets nothing. Variables with another prefix are left
// alone.
//
// A line is NAME=value, with or without "export" before it. In single quotes a
// value stands as it is; in double quotes \n, \t, \", \\ and \$ are escapes;
// without quotes it ends before " #". Nothing is expanded: a $ is a dollar sign.
func DotEnv(path string) Option {
	return func(o *options) {
		if path == "" {
			o.errs = append(o.errs, "DotEnv: the path is empty")
		}
		o.sources = append(o.sources, sourceSpec{kind: layerEnv, dotEnv: path})
	}
}

// readDotEnv reads the variables of a .env file.
func readDotEnv(r *reading, path string) (pairs []string) {
	data, err := readFile(nil, path)
	r.inputs = append(r.inputs, newInput(path, false, sumFile(data, err)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	where := Problem{Kind: KindUnreadable, Layer: "env " + path, File: path}
	if err != nil {
		where.Message, where.Err = "cannot read the file: "+cause(err), err
		r.fail(where)
		return nil
	}

	seen := map[string]int{}
	lines := strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")
	for i := 0; i < len(lines); i++ {
		p := where
		p.Kind, p.Line, p.Column = KindSyntax, i+1, 1
		line := strings.TrimSpace(lines[i])
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, ok := strings.Cut(line, "=")
		if !ok || !variableName.MatchString(name) {
			p.Message, p.Hint = "a line that is no NAME=value", "a comment begins with #"
			r.fail(p)
			continue
		}
		if first, twice := seen[name]; twice {
			p.Kind, p.Message, p.Hint = KindDuplicate, fmt.Sprintf("%s is there twice: first on line %d", name, first), "keep one of the two"
			r.fail(p)
			continue
		}
		seen[name] = i + 1

		text = strings.TrimLeft(text, " \t")
		for quote := text; quotedOpen(quote) && i+1 < len(lines); quote = text { // goes on in the next line
			i++
			text += "\n" + strings.TrimSuffix(lines[i], "\r")
		}
		value, ok := dotEnvValue(text)
		if !ok {
			p.Column = strings.Index(lines[p.Line-1], "=") + 2
			p.Message, p.Hint = "a quoted value that does not end where its quote does", "close it with the same quote, and put nothing but a comment behind it"
			r.fail(p)
			continue
		}
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// quotedOpen reports a quoted value whose quote is not closed yet.
func quotedOpen(text string) bool {
	return text != "" && (text[0] == '\'' || text[0] == '"') && closing(text) < 0
}

// closing is the index of the quote that ends a quoted value, or -1.
func closing(text string) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[0] == '"' && text[i] == '\\':
			i++
		case text[i] == text[0]:
			return i
		}
	}
	return -1
}

var dotEnvEscapes = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\"`, `"`, `\\`, `\`, `\$`, "$", "\\`", "`")

// dotEnvValue takes quotes and comments off a value.
func dotEnvValue(text string) (string, bool) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		if i := strings.Index(" "+text, " #"); i >= 0 {
			text = text[:max(0, i-1)]
		}
		return strings.TrimSpace(text), true
	}

	end := closing(text)
	if end < 0 {
		return "", false
	}
	if rest := strings.TrimSpace(text[end+1:]); rest != "" && rest[0] != '#' {
		return "", false
	}

	if text[0] == '"' {
		return dotEnvEscapes.Replace(text[1:end]), true
	}
	return text[1:end], true
}

// dotEnvText writes a value for a .env file that shells may source: what they
// would read as their own stands in single quotes.
func dotEnvText(value string) (string, bool) {
	switch {
	case plainValue.MatchString(value):
		return value, true
	case !strings.ContainsAny(value, "'\n\r"):
		return "'" + value + "'", true
	}
	return "", false // shells and docker would not agree on it
}

var plainValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

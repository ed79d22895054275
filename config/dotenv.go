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

// readDotEnv reads the variables of a .env file, and the line of each.
func readDotEnv(r *reading, path string) (pairs []string, lines map[string]int) {
	data, err := readFile(nil, path)
	r.inputs = append(r.inputs, newInput(path, false, sumFile(data, err)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	where := Problem{Kind: KindUnreadable, Layer: "env " + path, File: path}
	if err != nil {
		where.Message, where.Err = "cannot read the file: "+cause(err), err
		r.fail(where)
		return nil, nil
	}

	f := &dotEnv{rest: strings.TrimPrefix(string(data), "\ufeff"), seen: map[string]int{}}
	for f.next() {
		pair, p, ok := f.variable(where)
		switch {
		case !ok:
			f.mistakes++
			r.fail(p)
		case pair != "":
			pairs = append(pairs, pair)
		}

		if f.mistakes == maxProblems || len(pairs) == maxVariables {
			where.Kind, where.Line, where.Column = KindSyntax, f.line, 1
			where.Message, where.Hint = "the rest of the file was not read", "is it another program's?"
			r.fail(where)
			break
		}
	}
	return pairs, f.seen
}

// maxVariables bounds the variables of a .env file: each is held against every
// key.
const maxVariables = 10_000

// dotEnv goes through a .env file. Each byte is looked at a fixed number of
// times, whatever stands there.
type dotEnv struct {
	text     string // the line at which it stands
	rest     string // what follows it
	line     int
	seen     map[string]int
	mistakes int
}

// next goes to the next line.
func (f *dotEnv) next() bool {
	if f.rest == "" {
		return false
	}
	f.line++
	f.text, f.rest, _ = strings.Cut(f.rest, "\n")
	return true
}

// variable reads NAME=value at the line, and those on which the value goes on. A
// line of nothing or a comment is no variable, and no mistake.
func (f *dotEnv) variable(p Problem) (pair string, _ Problem, ok bool) {
	p.Kind, p.Line, p.Column = KindSyntax, f.line, 1
	line := strings.TrimLeft(strings.TrimPrefix(strings.TrimLeft(f.text, " \t"), "export "), " \t")
	if strings.TrimSpace(line) == "" || line[0] == '#' {
		return "", p, true
	}

	name, text, found := strings.Cut(line, "=")
	if !found || !variableName.MatchString(name) {
		p.Message, p.Hint = "a line that is no NAME=value", "a comment begins with #"
		return "", p, false
	}
	if first, twice := f.seen[name]; twice {
		p.Kind, p.Message, p.Hint = KindDuplicate, fmt.Sprintf("%s is there twice: first on line %d", name, first), "keep one of the two"
		return "", p, false
	}
	f.seen[name] = f.line

	p.Column = strings.Index(f.text, "=") + 2
	value, ok := dotEnvValue(f.whole(strings.TrimLeft(text, " \t")))
	if !ok {
		p.Message, p.Hint = "a quoted value that does not end where its quote does", "close it with the same quote, and put nothing but a comment behind it"
		return "", p, false
	}
	return name + "=" + value, p, true
}

// whole adds to the text of a value the lines up to the one where its quote
// ends, and goes there.
func (f *dotEnv) whole(text string) string {
	if text == "" || text[0] != '\'' && text[0] != '"' || closing(text, text[0], 1) >= 0 {
		return text
	}

	end := closing(f.rest, text[0], 0)
	if end < 0 {
		end = len(f.rest)
	}
	if i := strings.IndexByte(f.rest[end:], '\n'); i >= 0 {
		end += i
	} else {
		end = len(f.rest)
	}

	more := f.rest[:end]
	f.line += strings.Count(more, "\n") + 1
	f.text, f.rest = "", strings.TrimPrefix(f.rest[end:], "\n")
	return strings.ReplaceAll(text+"\n"+more, "\r\n", "\n")
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// closing is the index of the quote that ends a value, looked for from an index
// of text on, or -1.
func closing(text string, quote byte, from int) int {
	for i := from; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\':
			i++
		case text[i] == quote:
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

	end := closing(text, text[0], 1)
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

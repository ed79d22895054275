package config

import (
	"fmt"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// Ignore lets names be there that are no keys, so that loading can stay strict.
// A pattern matches the whole name of a variable ("APP_HOME"), a whole dotted key
// ("x-*"), or the name of a file in a [SecretsDir]; a * stands for any letters
// but the dot between the parts of a key. A pattern that matches a key of the
// settings is a mistake, as it would hide a value. [Store.Explain] lists what was
// ignored.
func Ignore(patterns ...string) Option {
	return func(o *options) { o.ignore = append(o.ignore, patterns...) }
}

// matchName reports whether a pattern of [Ignore] matches all of a name.
func matchName(pattern, name string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, before)
	if !ok {
		return false
	}

	for i := 0; i <= len(rest); i++ {
		if matchName(after, rest[i:]) {
			return true
		}
		if i < len(rest) && rest[i] == '.' {
			return false
		}
	}

	return false
}

// checkIgnore finds the patterns that would hide a key of the settings.
func checkIgnore(o *options, schema *typed.Schema) (errs []string) {
	for _, p := range o.ignore {
		for _, key := range typed.SortedKeys(schema.ByKey) {
			if what := hides(o, p, schema.ByKey[key]); what != "" {
				errs = append(errs, fmt.Sprintf("Ignore %q: it hides %s", p, what))
				break
			}
		}
	}
	return errs
}

// hides returns the name of a key, or of its variable or file, that a pattern
// matches.
func hides(o *options, pattern string, e *typed.Entry) string {
	names := []string{e.Key}
	if e.Shape.Code == typed.Map {
		names = append(names, e.Key+"."+entryOf(pattern, e.Key))
	}

	for _, s := range o.sources {
		switch s.kind {
		case layerEnv:
			if s.dotEnv != "" {
				continue // it has the prefix of Env
			}
			names = append(names, variable(s.path, e.Key), variable(s.path, e.Key)+fileSuffix)
		case layerSecrets:
			names = append(names, strings.ReplaceAll(e.Key, ".", "_"), strings.ReplaceAll(e.Key, "_", "-"))
		}
	}

	for _, name := range names {
		if matchName(pattern, name) {
			return e.Key
		}
	}

	return ""
}

// entryOf is an entry of the map that the pattern would match, if it matches
// any.
func entryOf(pattern, key string) string {
	parts, of := strings.Split(pattern, "."), strings.Split(key, ".")
	if len(parts) > len(of) {
		return strings.Join(parts[len(of):], ".")
	}
	return ""
}

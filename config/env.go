package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// envName writes text as a part of a variable's name.
func envName(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, text)
}

// variable is the name of a key's variable: made from the key, as a name
// cannot be split back without guessing.
func variable(prefix, key string) string {
	if prefix == "" {
		return envName(key)
	}
	return prefix + "_" + envName(key)
}

const fileSuffix = "_FILE"

// env reads the variables of all keys.
func (r *reading) env(s *sourceSpec) {
	prefix, environ := s.path, r.environ
	if s.dotEnv != "" {
		prefix, environ = r.opt.envPrefix(), r.dotEnv(s.dotEnv)
	}
	l := &layer{kind: layerEnv, name: prefix, dotEnv: s.dotEnv, flat: true, root: &doc.Node{Kind: doc.Map}}
	r.layers = append(r.layers, l)

	values := map[string]string{}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" && strings.HasPrefix(name, prefix) && (value != "" || !r.opt.emptyless) {
			values[name] = value
		}
	}

	links := serviceLinks(values)
	names := make(map[string]*typed.Entry, len(r.schema.Leaves))
	for _, e := range r.schema.Leaves {
		v := variable(prefix, e.Key)
		if other := names[v]; other != nil {
			r.fail(Problem{
				Key: e.Key, Layer: "env " + v, Message: fmt.Sprintf("keys %s and %s have the same variable", other.Key, e.Key),
				Hint: "rename one with a koanf tag",
			})
			continue
		}
		names[v] = e
	}

	for _, e := range r.schema.Leaves {
		if v := variable(prefix, e.Key); names[v] == e {
			r.variable(l, e, v, values, names, links)
		}
	}

	if prefix != "" {
		r.unknownVariables(l, prefix, values, names, links)
	}
}

func (r *reading) variable(l *layer, e *typed.Entry, v string, values map[string]string, names map[string]*typed.Entry, links map[string]string) {
	text, direct := values[v]
	path, indirect := values[v+fileSuffix]
	if names[v+fileSuffix] != nil { // a key of its own
		path, indirect = "", false
	}
	service := links[v]
	if stem, ok := strings.CutSuffix(v, "_PORT"); ok && direct && service == "" && isAddress(text) && isNumber(e.Shape) {
		service = serviceName(stem)
	}

	switch {
	case direct && service != "":
		r.reject(Problem{
			Key: e.Key, Layer: "env " + v,
			Message: fmt.Sprintf("set by Kubernetes for its service %q, not for this key", service),
			Hint:    "set enableServiceLinks: false in the pod's spec, or choose another prefix",
		})
	case direct && indirect:
		r.reject(Problem{Kind: KindConflict, Key: e.Key, Layer: "env " + v, Message: "set together with " + v + fileSuffix, Hint: "set one of the two"})
	case direct:
		if n, ok := r.textNode(l, e, text, l.variable(v), false); ok {
			l.root.Names, l.root.Items = append(l.root.Names, doc.Name{Text: e.Key}), append(l.root.Items, n)
		}
	case indirect && path == "":
		r.reject(Problem{Kind: KindWrongType, Key: e.Key, Layer: "env " + v + fileSuffix, Message: "empty, want the path of a file", Hint: "unset it"})
	case indirect:
		if n, ok := r.textFile(l, e, path, v+fileSuffix); ok {
			l.root.Names, l.root.Items = append(l.root.Names, doc.Name{Text: e.Key}), append(l.root.Items, n)
		}
	}
}

// variable names a variable of the layer for people.
func (l *layer) variable(name string) string {
	if l.dotEnv != "" {
		return name + " in " + l.dotEnv
	}
	return name
}

// unknownVariables reports what begins with the prefix and is no key.
func (r *reading) unknownVariables(l *layer, prefix string, values map[string]string, names map[string]*typed.Entry, links map[string]string) {
	for _, v := range typed.SortedKeys(values) {
		if !strings.HasPrefix(v, prefix+"_") || names[v] != nil || links[v] != "" || lonelyLink(v, values) || r.ownVariable(v) {
			continue
		}
		if base, ok := strings.CutSuffix(v, fileSuffix); ok && names[base] != nil {
			continue
		}
		if r.ignores(v, Origin{Layer: string(layerEnv), Name: v}) {
			continue
		}

		p := Problem{Kind: KindUnknown, Layer: "env " + l.variable(v), Message: "unknown variable"}
		section := ""
		for _, k := range typed.SortedKeys(r.schema.ByKey) {
			if e := r.schema.ByKey[k]; e.Section && variable(prefix, k) == v {
				section = k
			}
		}

		if section != "" {
			p.Hint = fmt.Sprintf("%s is a section: set its keys one by one", section)
		} else {
			p.Hint = nearestVariable(v, prefix, names)
		}

		if e := wholeOf(v, names); e != nil {
			p.Hint = fmt.Sprintf("%s is one value: write all of it as JSON in %s", e.Key, variable(prefix, e.Key))
		}
		if r.opt.lenient {
			r.warnings = append(r.warnings, p)
			continue
		}

		r.fail(p)
	}
}

// wholeOf finds the list or map in which a variable seems to name an item.
func wholeOf(v string, names map[string]*typed.Entry) *typed.Entry {
	for other, e := range names {
		if strings.HasPrefix(v, other+"_") && (e.Shape.Code == typed.Map || e.Shape.Code == typed.Slice || e.Shape.Code == typed.Array) {
			return e
		}
	}
	return nil
}

// nearestVariable compares without the prefix, which all share.
func nearestVariable(v, prefix string, names map[string]*typed.Entry) string {
	short := make([]string, 0, len(names))
	for n := range names {
		short = append(short, strings.TrimPrefix(n, prefix+"_"))
	}
	hint := typed.Nearest(strings.TrimPrefix(v, prefix+"_"), short)
	if rest, ok := strings.CutPrefix(hint, `did you mean "`); ok {
		return `did you mean "` + prefix + "_" + rest
	}
	return hint
}

// ownVariable reports a variable that another option reads, under the same
// prefix.
func (r *reading) ownVariable(v string) bool {
	return slices.ContainsFunc(r.opt.sources, func(s sourceSpec) bool {
		if s.kind == layerEnv && s.path != "" {
			// A longer prefix of its own: Env("APP") and Env("APP_EXTRA").
			for _, e := range r.schema.Leaves {
				if own := variable(s.path, e.Key); own == v || own+fileSuffix == v {
					return true
				}
			}
		}
		return s.variable == v
	})
}

// serviceLinks finds the variables that Kubernetes sets in every pod for the
// services of its namespace, with the service's name. A service is known by
// its STEM_SERVICE_HOST together with STEM_SERVICE_PORT, STEM_PORT being an
// address such as tcp://10.0.0.1:80.
func serviceLinks(values map[string]string) map[string]string {
	links := map[string]string{}
	for v, address := range values {
		stem, ok := strings.CutSuffix(v, "_PORT")
		if !ok || stem == "" || !isAddress(address) {
			continue
		}
		if _, host := values[stem+"_SERVICE_HOST"]; !host {
			continue
		}

		service := serviceName(stem)
		links[v], links[stem+"_SERVICE_HOST"] = service, service

		for other, text := range values {
			rest, ok := strings.CutPrefix(other, stem+"_")
			if !ok {
				continue
			}
			if rest == "SERVICE_PORT" || strings.HasPrefix(rest, "SERVICE_PORT_") && isPort(text) || isPortLink(rest) {
				links[other] = service
			}
		}
	}

	return links
}

func serviceName(stem string) string { return strings.ToLower(strings.ReplaceAll(stem, "_", "-")) }

// lonelyLink reports a variable which has the form of a service link, and is
// no key, where the others of its service were taken out of the environment.
func lonelyLink(v string, values map[string]string) bool {
	switch {
	case strings.HasSuffix(v, "_PORT") && isAddress(values[v]):
		return true
	case strings.HasSuffix(v, "_SERVICE_HOST"):
		_, err := netip.ParseAddr(values[v])
		return err == nil
	}

	if stem, _, ok := strings.Cut(v, "_SERVICE_PORT"); ok {
		return isPort(values[v]) && values[stem+"_SERVICE_HOST"] != ""
	}
	i := strings.LastIndex(v, "_PORT_")
	if i > 0 && strings.HasSuffix(v, "_PORT") { // its last part
		i = strings.LastIndex(v[:len(v)-len("_PORT")], "_PORT_")
	}
	return i > 0 && isPortLink(v[i+1:])
}

// isNumber reports a shape that reads a number.
func isNumber(s *typed.Shape) bool {
	for s.Code == typed.Pointer {
		s = s.Elem
	}
	return s.Code == typed.Int || s.Code == typed.Uint || s.Code == typed.Float
}

func isAddress(text string) bool {
	for _, proto := range []string{"tcp://", "udp://", "sctp://"} {
		if strings.HasPrefix(text, proto) {
			return true
		}
	}
	return false
}

// isPortLink reports PORT_80_TCP and its _PROTO, _PORT and _ADDR.
func isPortLink(rest string) bool {
	parts := strings.Split(rest, "_")
	if len(parts) < 3 || len(parts) > 4 || parts[0] != "PORT" || !isPort(parts[1]) {
		return false
	}
	if !slices.Contains([]string{"TCP", "UDP", "SCTP"}, parts[2]) {
		return false
	}
	return len(parts) == 3 || slices.Contains([]string{"PROTO", "PORT", "ADDR"}, parts[3])
}

func isPort(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

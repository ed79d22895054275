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

// variables reads the variables of one layer.
type variables struct {
	*reading
	layer  *layer
	prefix string
	values map[string]string       // the variables that there are
	keys   []string                // the variable of each leaf, "" where it is another's
	names  map[string]*typed.Entry // the leaf of each variable
	links  map[string]string       // of Kubernetes: variable to service
}

func newVariables(r *reading, s *sourceSpec) *variables {
	prefix, environ, lines := s.path, r.environ, map[string]int(nil)
	if s.dotEnv != "" {
		prefix = r.opt.envPrefix()
		environ, lines = readDotEnv(r, s.dotEnv)
	}

	v := &variables{
		reading: r, prefix: prefix, values: map[string]string{},
		layer: &layer{kind: layerEnv, name: prefix, dotEnv: s.dotEnv, lines: lines, flat: true, root: &doc.Node{Kind: doc.Map}},
		keys:  make([]string, len(r.schema.Leaves)),
		names: make(map[string]*typed.Entry, len(r.schema.Leaves)),
	}

	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" && strings.HasPrefix(name, prefix) && (value != "" || !r.opt.emptyless) {
			v.values[name] = value
		}
	}

	v.links = serviceLinks(v.values)
	return v
}

func (v *variables) read() {
	v.layers = append(v.layers, v.layer)
	for i, e := range v.schema.Leaves {
		name := variable(v.prefix, e.Key)
		if other := v.names[name]; other != nil {
			v.fail(Problem{
				Key: e.Key, Layer: "env " + name, Message: fmt.Sprintf("keys %s and %s have the same variable", other.Key, e.Key),
				Hint: "rename one with a koanf tag",
			})
			continue
		}
		v.keys[i], v.names[name] = name, e
	}

	for i, name := range v.keys {
		if name != "" {
			v.value(v.schema.Leaves[i], name)
		}
	}

	if v.prefix != "" {
		v.unknown()
	}
}

// value reads the variable of a key, or the file that its _FILE names.
func (v *variables) value(e *typed.Entry, name string) {
	text, direct := v.values[name]
	path, indirect := v.values[name+fileSuffix]
	if v.names[name+fileSuffix] != nil { // a key of its own
		path, indirect = "", false
	}

	service := v.links[name]
	if stem, ok := strings.CutSuffix(name, "_PORT"); ok && direct && service == "" && isAddress(text) && isNumber(e.Shape) {
		service = serviceName(stem)
	}

	switch {
	case direct && service != "":
		v.reject(Problem{
			Key: e.Key, Layer: "env " + name,
			Message: fmt.Sprintf("set by Kubernetes for its service %q, not for this key", service),
			Hint:    "set enableServiceLinks: false in the pod's spec, or choose another prefix",
		})
	case direct && indirect:
		v.reject(Problem{Kind: KindConflict, Key: e.Key, Layer: "env " + name, Message: "set together with " + name + fileSuffix, Hint: "set one of the two"})
	case direct:
		n, ok := v.textNode(v.layer, e, text, v.layer.variable(name), false)
		v.put(e, n, ok)
	case indirect && path == "":
		v.reject(Problem{Kind: KindWrongType, Key: e.Key, Layer: "env " + name + fileSuffix, Message: "empty, want the path of a file", Hint: "unset it"})
	case indirect:
		n, ok := v.textFile(v.layer, e, path, name+fileSuffix)
		v.put(e, n, ok)
	}
}

func (v *variables) put(e *typed.Entry, n *doc.Node, ok bool) {
	if root := v.layer.root; ok {
		root.Names, root.Items = append(root.Names, doc.Name{Text: e.Key}), append(root.Items, n)
	}
}

// unknown reports what begins with the prefix and is no key.
func (v *variables) unknown() {
	for _, name := range typed.SortedKeys(v.values) {
		if !strings.HasPrefix(name, v.prefix+"_") || v.names[name] != nil || v.links[name] != "" || lonelyLink(name, v.values) || v.own(name) {
			continue
		}
		if base, ok := strings.CutSuffix(name, fileSuffix); ok && v.names[base] != nil {
			continue
		}
		if v.ignores(name, Origin{Layer: string(layerEnv), Name: name}) {
			continue
		}

		p := Problem{Kind: KindUnknown, Layer: "env " + v.layer.variable(name), Message: "unknown variable", Hint: v.hint(name)}
		if v.opt.lenient {
			v.warnings = append(v.warnings, p)
			continue
		}
		v.fail(p)
	}
}

// hint says what an unknown variable may have meant.
func (v *variables) hint(name string) string {
	if e := wholeOf(name, v.names); e != nil {
		return fmt.Sprintf("%s is one value: write all of it as JSON in %s", e.Key, variable(v.prefix, e.Key))
	}
	for _, k := range typed.SortedKeys(v.schema.ByKey) {
		if e := v.schema.ByKey[k]; e.Section && variable(v.prefix, k) == name {
			return fmt.Sprintf("%s is a section: set its keys one by one", k)
		}
	}
	for _, k := range typed.SortedKeys(v.schema.Unreadable) {
		if variable(v.prefix, k) == name {
			return v.schema.Unreadable[k]
		}
	}
	return nearestVariable(name, v.prefix, v.names)
}

// own reports a variable that another option reads, under the same
// prefix.
func (v *variables) own(name string) bool {
	return slices.ContainsFunc(v.opt.sources, func(s sourceSpec) bool {
		if s.kind == layerEnv && s.path != "" {
			// A longer prefix of its own: Env("APP") and Env("APP_EXTRA").
			for _, e := range v.schema.Leaves {
				if own := variable(s.path, e.Key); own == name || own+fileSuffix == name {
					return true
				}
			}
		}
		return s.variable == name
	})
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

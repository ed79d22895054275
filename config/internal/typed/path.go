package typed

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// Within finds what a name such as ".a.port" or "[0].port" means in a value of
// shape s: the parts of the way there, as package doc names them, and the shape
// of what stands there. An entry of a map need not be there yet, and its name may
// hold dots: one that is there goes before one that is not.
func Within(s *Shape, rv reflect.Value, name string) (path []string, at *Shape, ok bool) {
	for s.Code == Pointer {
		s = s.Elem
		if rv.IsValid() {
			rv = rv.Elem()
		}
	}
	if name == "" {
		return nil, s, true
	}

	switch s.Code {
	case Slice, Array:
		return withinList(s, rv, name)
	case Map:
		return withinMap(s, rv, name)
	case Struct:
		part, rest := cutPart(name)
		f := s.Struct.Names[part]
		if f == nil {
			return nil, nil, false
		}
		field := reflect.Value{}
		if rv.IsValid() {
			if fv, there := ReadPath(rv, f.Path); there {
				field = fv
			}
		}
		path, at, ok = Within(f.Shape, field, rest)
		return append([]string{part}, path...), at, ok
	}

	return nil, nil, false
}

// cutPart splits ".part" off the front of a name.
func cutPart(name string) (part, rest string) {
	part, ok := strings.CutPrefix(name, ".")
	if !ok {
		return "", name
	}
	if i := strings.IndexAny(part, ".["); i >= 0 {
		return part[:i], part[i:]
	}
	return part, ""
}

func withinList(s *Shape, rv reflect.Value, name string) (path []string, at *Shape, ok bool) {
	index, rest, found := strings.Cut(strings.TrimPrefix(name, "["), "]")
	i, err := strconv.Atoi(index)
	if name[0] != '[' || !found || err != nil || strconv.Itoa(i) != index || i < 0 {
		return nil, nil, false
	}

	item := reflect.Value{}
	if rv.IsValid() && i < rv.Len() {
		item = rv.Index(i)
	}
	path, at, ok = Within(s.Elem, item, rest)
	return append([]string{doc.IndexPart(i)}, path...), at, ok
}

func withinMap(s *Shape, rv reflect.Value, name string) (path []string, at *Shape, ok bool) {
	whole, dotted := strings.CutPrefix(name, ".")
	if !dotted || whole == "" {
		return nil, nil, false
	}

	entries := map[string]reflect.Value{}
	if rv.IsValid() {
		for it := rv.MapRange(); it.Next(); {
			entries[PlainText(it.Key(), s.Key)] = it.Value()
		}
	}
	try := func(part string) bool {
		path, at, ok = Within(s.Elem, entries[part], whole[len(part):])
		path = append([]string{part}, path...)
		return ok
	}

	known := Keys(entries)
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) })
	for _, part := range known {
		if !strings.HasPrefix(whole, part) {
			continue
		}
		if try(part) {
			return path, at, true
		}
		if s.Elem.Code == Struct && strings.HasPrefix(whole[len(part):], ".") {
			return nil, nil, false // a slip in one of its keys, more likely than an entry with a dot
		}
	}

	for i := range whole {
		if i > 0 && strings.IndexByte(".[", whole[i]) >= 0 && try(whole[:i]) {
			return path, at, true
		}
	}

	ok = try(whole)
	return path, at, ok
}

// At returns what a path that [Within] gave leads to in rv, and its shape; an
// invalid Value where nothing is there.
func At(rv reflect.Value, s *Shape, path []string) (reflect.Value, *Shape) {
	for {
		for s.Code == Pointer {
			s = s.Elem
			if rv.IsValid() {
				rv = rv.Elem()
			}
		}
		if len(path) == 0 || !rv.IsValid() {
			return rv, s
		}

		part := path[0]
		path = path[1:]
		switch s.Code {
		case Struct:
			f := s.Struct.Names[part]
			rv, s = fieldByPath(rv, f.Path), f.Shape
		case Map:
			kv := reflect.New(s.Key.Type).Elem()
			_, _, _ = setText(kv, s.Key, part)
			rv, s = rv.MapIndex(kv), s.Elem
		default:
			i, _ := doc.ItemOf(part)
			if i >= rv.Len() {
				return reflect.Value{}, s.Elem
			}
			rv, s = rv.Index(i), s.Elem
		}
	}
}

package typed

import (
	"fmt"
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
			rv, s = rv.Index(i), s.Elem
		}
	}
}

// Set sets what a path that [Within] gave leads to in rv, and makes what is
// missing on the way: pointers, entries, and the item after the last one. An
// entry keeps the keys that n does not name, an item is made anew.
func (d *Decoder) Set(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	if len(path) == 0 {
		if s.Code == Map || s.Code == Struct {
			return d.Value(rv, s, n, key)
		}
		fresh := reflect.New(s.Type).Elem()
		ok := d.Value(fresh, s, n, key)
		rv.Set(fresh)
		return ok
	}

	full := doc.Dotted(append([]string{key}, path[0]))
	switch s.Code {
	case Pointer:
		if rv.IsNil() {
			rv.Set(reflect.New(s.Elem.Type))
			if s.Elem.Code == Struct {
				Fill(rv.Elem(), s.Elem)
			}
		}
		return d.Set(rv.Elem(), s.Elem, path, n, key)
	case Struct:
		f := s.Struct.Names[path[0]]
		return d.Set(fieldByPath(rv, f.Path), f.Shape, path[1:], n, full)
	case Map:
		return d.setEntry(rv, s, path, n, full)
	}
	return d.setItem(rv, s, path, n, key)
}

func (d *Decoder) setEntry(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	kv := reflect.New(s.Key.Type).Elem()
	if want, hint, _ := setText(kv, s.Key, path[0]); want != "" {
		d.Mistakes = append(d.Mistakes, Mistake{Node: n, Key: key, Got: path[0], Want: "as a key " + want, Hint: hint})
		return false
	}
	if rv.IsNil() {
		rv.Set(reflect.MakeMap(s.Type))
	}
	if len(path) == 1 && n.Kind == doc.Null {
		rv.SetMapIndex(kv, reflect.Value{})
		return true
	}

	ev := reflect.New(s.Elem.Type).Elem()
	if old := rv.MapIndex(kv); old.IsValid() {
		ev.Set(Copy(old, s.Elem))
	} else if s.Elem.Code == Struct {
		Fill(ev, s.Elem)
	}
	ok := d.Set(ev, s.Elem, path[1:], n, key)
	rv.SetMapIndex(kv, ev)
	return ok
}

func (d *Decoder) setItem(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	i, _ := doc.ItemOf(path[0])
	full := fmt.Sprintf("%s[%d]", key, i)
	switch {
	case i > rv.Len() || i == rv.Len() && s.Code == Array:
		d.Mistakes = append(d.Mistakes, Mistake{
			Node: n, Key: full, Got: fmt.Sprintf("item %d", i), Want: fmt.Sprintf("one of the %d items", rv.Len()),
			Hint: fmt.Sprintf("the item after the last is %s[%d]", key, rv.Len()),
		})
		return false
	case i == rv.Len() || len(path) == 1:
		fresh := reflect.New(s.Elem.Type).Elem()
		if s.Elem.Code == Struct {
			Fill(fresh, s.Elem)
		}
		ok := d.Set(fresh, s.Elem, path[1:], n, full)
		if i == rv.Len() {
			rv.Set(reflect.Append(rv, fresh))
		} else {
			rv.Index(i).Set(fresh)
		}
		return ok
	}
	return d.Set(rv.Index(i), s.Elem, path[1:], n, full)
}

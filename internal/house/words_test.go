package house_test

import (
	"go/ast"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSentinels holds the text of each exported error to the name of its
// package: whoever reads it in a log knows where it is from.
func TestSentinels(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		if block(p.ImportPath) == "" || p.internal() {
			continue
		}
		fset, files := parse(t, p.Dir, p.GoFiles)
		for _, f := range files {
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, spec := range g.Specs {
					name, text := sentinel(spec.(*ast.ValueSpec))
					if name == "" {
						continue
					}
					if !strings.HasPrefix(text, p.Name+": ") && !strings.HasPrefix(text, block(p.ImportPath)+": ") {
						wrong(t, p.short(), "%s: the text of %s is %q: begin it with %q", fset.Position(spec.Pos()), name, text, p.Name+": ")
					}
				}
			}
		}
	}
}

// sentinel returns the name and the text of an exported error made by
// errors.New, or nothing.
func sentinel(spec *ast.ValueSpec) (name, text string) {
	if len(spec.Names) != 1 || len(spec.Values) != 1 || !ast.IsExported(spec.Names[0].Name) {
		return "", ""
	}
	call, ok := spec.Values[0].(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return "", ""
	}
	fn, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fn.Sel.Name != "New" {
		return "", ""
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return "", ""
	}
	return spec.Names[0].Name, text
}

// words are the fields that all option structs share, and their types.
var words = map[string]string{
	"Logger":       "*slog.Logger",
	"OnError":      "func(error)",
	"StuckAfter":   "time.Duration",
	"CloseTimeout": "time.Duration",
	"Retry":        "Retry",
}

// otherWords are spellings of what has a word: the field to use in its place.
var otherWords = map[string]string{
	"MinBackoff": "Retry.Base", "MaxBackoff": "Retry.Max", "MaxAttempts": "Retry.Attempts", "MaxRetries": "Retry.Attempts",
	"DrainTimeout": "CloseTimeout", "ShutdownTimeout": "CloseTimeout", "StopTimeout": "CloseTimeout",
	"QuotaBytes": "MaxBytes", "BodyBytes": "MaxBodyBytes", "CacheBytes": "MaxBytes",
	"ErrorHandler": "OnError", "Log": "Logger",
}

// retry are the fields that every struct called Retry has.
var retry = []string{"Attempts", "Base", "Max", "MaxElapsed"}

// TestOptionWords holds the option structs of all blocks to one vocabulary.
func TestOptionWords(t *testing.T) {
	t.Parallel()
	for name, s := range optionStructs(t) {
		p, typ, _ := strings.Cut(name, ".")
		if strings.HasSuffix(typ, "Config") {
			wrong(t, p, "%s: options have one struct, called Options", name)
		}
		var fields []string
		for _, f := range s.Fields.List {
			for _, id := range f.Names {
				if !id.IsExported() {
					continue
				}
				fields = append(fields, id.Name)
				at := p + "." + typ + "." + id.Name
				if word := otherWords[id.Name]; word != "" {
					wrong(t, p, "%s: the word for this is %s", at, word)
				}
				if want := words[id.Name]; want != "" && isOptions(typ) && typeText(f.Type) != want {
					wrong(t, p, "%s is a %s, elsewhere a %s", at, typeText(f.Type), want)
				}
			}
		}
		for _, field := range retry {
			if typ == "Retry" && !slices.Contains(fields, field) {
				wrong(t, p, "%s has no field %s, as it has elsewhere", name, field)
			}
		}
	}
}

// TestOptionTags looks at the tags of fields that settings can hold: words for
// readers, and a default that an explicit zero does not stand for unseen.
func TestOptionTags(t *testing.T) {
	t.Parallel()
	for name, s := range optionStructs(t) {
		for _, f := range s.Fields.List {
			if f.Tag == nil || len(f.Names) == 0 {
				continue
			}
			text, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			tag, at := reflect.StructTag(text), name+"."+f.Names[0].Name
			_, hasDefault := tag.Lookup("default")
			_, pointer := f.Type.(*ast.StarExpr)
			room := strings.SplitN(name, ".", 2)[0]
			switch {
			case !hasDefault:
			case tag.Get("doc") == "":
				wrong(t, room, "%s has a default and no doc: what is it for?", at)
			case tag.Get("zero") != "default" && !pointer:
				wrong(t, room, `%s has a default without zero:"default": New could not tell an explicit zero from none`, at)
			case typeText(f.Type) == "bool":
				wrong(t, room, "%s is a bool with a default: name the switch so that false is the default", at)
			}
		}
	}
}

// isOptions reports whether a struct of that name is given to a constructor.
func isOptions(typ string) bool { return strings.HasSuffix(typ, "Options") }

// optionStructs returns the exported structs of the blocks that are options or
// part of one, by package and name.
func optionStructs(t *testing.T) map[string]*ast.StructType {
	t.Helper()
	out := map[string]*ast.StructType{}
	_, all := load(t)
	for _, p := range all {
		if block(p.ImportPath) == "" || p.internal() || p.suite() {
			continue
		}
		_, files := parse(t, p.Dir, p.GoFiles)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok || !spec.Name.IsExported() {
					return true
				}
				if s, ok := spec.Type.(*ast.StructType); ok {
					out[p.short()+"."+spec.Name.Name] = s
				}
				return false
			})
		}
	}
	return out
}

// typeText returns the text of a simple type.
func typeText(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.StarExpr:
		return "*" + typeText(x.X)
	case *ast.SelectorExpr:
		return typeText(x.X) + "." + x.Sel.Name
	case *ast.ArrayType:
		return "[]" + typeText(x.Elt)
	case *ast.FuncType:
		var params []string
		for _, f := range x.Params.List {
			for range max(1, len(f.Names)) {
				params = append(params, typeText(f.Type))
			}
		}
		return "func(" + strings.Join(params, ", ") + ")"
	}
	return "other"
}

// pending are the rooms that do not keep a rule yet, by the test that holds it:
// what is wrong there is only logged.
var pending = map[string][]string{
	"TestOptionWords": {"config"},
}

// wrong reports what is wrong in a package.
func wrong(t *testing.T, path, format string, args ...any) {
	t.Helper()
	if room, _, _ := strings.Cut(path, "/"); slices.Contains(pending[t.Name()], room) {
		t.Logf(format, args...)
		return
	}
	t.Errorf(format, args...)
}

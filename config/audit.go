package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/loopback"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// auditor looks at one snapshot as an attacker would.
type auditor struct {
	schema   *typed.Schema
	snap     *snapshot
	problems []Problem
}

// audit lists what others could use. All are of KindInsecure.
func audit(schema *typed.Schema, snap *snapshot) []Problem {
	a := &auditor{schema: schema, snap: snap}
	a.files()
	for _, leaf := range schema.Leaves {
		a.exposed(leaf)
	}
	a.values(snap.rv.Elem(), schema.Root.Shape, "", &typed.Field{}, false)
	return a.problems
}

func (a *auditor) add(p Problem) {
	p.Kind = KindInsecure
	a.problems = append(a.problems, p)
}

// files tells who may write what was read, and the folders on the way there.
func (a *auditor) files() {
	told := map[string]bool{}
	for _, in := range a.snap.inputs {
		findings, err := safefile.Writable(in.path)
		if err != nil {
			continue // it is missing
		}
		for _, f := range findings {
			if told[f.Path] {
				continue
			}
			told[f.Path] = true
			a.add(Problem{Layer: "file " + f.Path, Message: writers(f), Hint: writersHint(f)})
		}
	}
}

func writers(f safefile.Finding) string {
	who := map[safefile.Who]string{
		safefile.Everybody: "everybody", safefile.Group: "its group", safefile.Stranger: fmt.Sprintf("its owner, user %d,", f.Owner),
	}[f.Who]
	if f.Above {
		return fmt.Sprintf("%s may replace what is below it (%s)", who, f.Mode)
	}
	return fmt.Sprintf("%s may write it (%s)", who, f.Mode)
}

func writersHint(f safefile.Finding) string {
	switch f.Who {
	case safefile.Everybody:
		return "chmod o-w " + f.Path
	case safefile.Group:
		return "chmod g-w " + f.Path
	}
	return "chown it to root or to the user of the service"
}

// exposed tells of a secret in a variable or flag, also of one that another
// layer won over: it is there all the same.
func (a *auditor) exposed(leaf *typed.Entry) {
	if !leaf.Shape.HoldsSecret() && !sensitiveKey(leaf.Key) {
		return
	}

	told := map[string]bool{}
	for n := a.snap.heads[leaf.ID]; n != nil; n = from(n).over {
		n.Visit(func(n *doc.Node) {
			o := from(n)
			variable, ofEnv := strings.CutPrefix(o.ref, referencePrefix+"env://")
			where := o.label
			switch {
			case ofEnv:
				where = variable
			case o.tainted || n.Kind != doc.Text || n.Text == "" || isReference(n.Text):
				return // a file or a reference, or nothing
			case o.layer.kind != layerFlag && (o.layer.kind != layerEnv || o.layer.dotEnv != ""):
				return
			}

			if told[where] {
				return
			}
			told[where] = true

			p := problemAt(n, leaf.Key)
			if o.layer.kind == layerFlag {
				p.Message, p.Hint = "a secret on the command line, which every user of the machine sees", "give it in a file"
			} else {
				p.Message = fmt.Sprintf("a secret in the environment (%s), which child processes, dumps and the engine's inspect show", where)
				p.Hint = "give it in a file of SecretsDir, or name one in its variable that ends in " + fileSuffix
			}
			a.add(p)
		})
	}
}

// values looks at every address in a value. f is the field that it stands in;
// withSecret says that a secret stands beside it.
func (a *auditor) values(rv reflect.Value, s *typed.Shape, key string, f *typed.Field, withSecret bool) {
	switch s.Code {
	case typed.Pointer:
		if !rv.IsNil() {
			a.values(rv.Elem(), s.Elem, key, f, withSecret)
		}
	case typed.Slice, typed.Array:
		for i := range rv.Len() {
			a.values(rv.Index(i), s.Elem, fmt.Sprintf("%s[%d]", key, i), f, withSecret)
		}
	case typed.Map:
		entries := map[string]reflect.Value{}
		for it := rv.MapRange(); it.Next(); {
			entries[typed.PlainText(it.Key(), s.Key)] = it.Value()
		}
		for _, k := range typed.SortedKeys(entries) {
			a.values(entries[k], s.Elem, doc.JoinKey(key, k), f, withSecret)
		}
	case typed.Struct:
		secret := slices.ContainsFunc(s.Struct.Fields, func(f *typed.Field) bool { return f.Shape.IsSecret() })
		for _, f := range s.Struct.Fields {
			full := key
			if f.Name != "" {
				full = doc.JoinKey(key, f.Name)
			}
			a.values(rv.Field(f.Index), f.Shape, full, f, secret)
		}
	case typed.String, typed.Text, typed.URL:
		if rv.CanInterface() && f.Audit != "-" {
			a.address(typed.PlainText(rv, s), s, key, f, withSecret)
		}
	}
}

// address tells of one that takes a token in clear, or at which others can reach
// the service.
func (a *auditor) address(text string, s *typed.Shape, key string, f *typed.Field, withSecret bool) {
	if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "ws") && u.Host != "" {
		_, password := u.User.Password()
		takes := password || withSecret || f.Audit == "token" || s.Code == typed.URL || s.Type == reflect.TypeFor[URL]()
		if takes && !loopback.Is(u.Hostname()) {
			p := a.at(key)
			p.Value, p.Want, p.Hint = fmt.Sprintf("%q", shorten(showable(text))), "https", "a token or password that goes there is read on the way"
			a.add(p)
		}
		return
	}

	host, ok := hostPort(text)
	if !ok {
		return
	}

	_, last, _ := cutLast(key, ".")
	addr, literal := loopback.Address(host)
	listens := host == "" || literal && addr.IsUnspecified() || f.Audit == "listen" || strings.Contains(last, "listen") || strings.Contains(last, "bind")
	if !listens || loopback.Is(host) {
		return
	}

	p := a.at(key)
	p.Message, p.Hint = fmt.Sprintf("%q is reached by %s", text, reachedBy(host, addr)), "listen on 127.0.0.1 behind a proxy, or close the port to others"
	a.add(p)
}

// hostPort splits an address: package net, which does it too, would be the only
// use of it here.
func hostPort(text string) (host string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !isPort(text[i+1:]) {
		return "", false
	}
	host = text[:i]
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	return host, bracketed || !strings.ContainsAny(host, ":[]/ ")
}

func reachedBy(host string, addr netip.Addr) string {
	switch {
	case host == "" || addr.IsValid() && addr.IsUnspecified():
		return "whoever reaches any address of this machine"
	case addr.IsValid() && addr.IsPrivate():
		return "whoever is in its private network"
	}
	return "whoever reaches " + host
}

// at begins a problem at the place of a key's value.
func (a *auditor) at(key string) Problem {
	n := nodeAt(a.schema, a.snap.heads, key)
	if n == nil {
		return Problem{Key: key, Layer: string(layerDefault)}
	}
	return problemAt(n, key)
}

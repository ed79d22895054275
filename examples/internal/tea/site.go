package tea

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// pageRows is how many lots stand on one page.
const pageRows = 50

// Site is an auction's web site: a list of estates on "/", which leads to pages
// of a table of lots, each of which leads to the next. It makes its pages once
// and is safe for concurrent use.
type Site struct {
	made  made
	front []byte
	pages [][]byte
}

// NewSite returns a site that lists the given number of lots. The same
// arguments give the same pages.
func NewSite(seed uint64, lots int) *Site {
	s := &Site{made: generate(seed, lots)}
	s.front = render("front", map[string]any{"Estates": s.made.estates, "Total": lots})

	count := max(1, (lots+pageRows-1)/pageRows)
	for p := range count {
		type cells struct {
			Lot
			Weight string
		}

		var page []cells
		for i := p * pageRows; i < min(lots, (p+1)*pageRows); i++ {
			lot := s.made.lots[i]
			weight, bad := s.made.broken[i]
			if !bad {
				weight = thousands(lot.WeightKG) + " kg"
			}
			page = append(page, cells{lot, weight})
		}

		next := ""
		if p+1 < count {
			next = "/lots?page=" + strconv.Itoa(p+2)
		}
		s.pages = append(s.pages, render("lots", map[string]any{"Lots": page, "Total": lots, "Page": p + 1, "Pages": count, "Next": next}))
	}

	return s
}

// Estates returns what the list says.
func (s *Site) Estates() []Estate { return s.made.estates }

// Lots returns what the table says, in its order, without the rows that cannot
// be read, and how many those are. The lots' links are below base.
func (s *Site) Lots(base *url.URL) (lots []Lot, unreadable int) {
	for i, lot := range s.made.lots {
		if _, bad := s.made.broken[i]; bad {
			unreadable++
			continue
		}
		lot.URL = base.JoinPath("lot", lot.ID).String()
		lots = append(lots, lot)
	}
	return lots, unreadable
}

// ServeHTTP serves the site.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	switch r.URL.Path {
	case "/":
		_, _ = w.Write(s.front) // whoever left does not matter
	case "/lots":
		n, err := strconv.Atoi(r.URL.Query().Get("page"))
		if r.URL.RawQuery == "" {
			n, err = 1, nil
		}
		if err != nil || n < 1 || n > len(s.pages) {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(s.pages[n-1])
	case "/robots.txt":
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("User-agent: *\nDisallow: /lot/\n"))
	default:
		http.NotFound(w, r)
	}
}

// thousands writes 1250.5 as 1,250.5.
func thousands(f float64) string {
	whole, fraction, ok := strings.Cut(strconv.FormatFloat(f, 'f', -1, 64), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if !ok {
		return whole
	}
	return whole + "." + fraction
}

func render(name string, data any) []byte {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // the templates and their data are both here
	}
	return b.Bytes()
}

// A cell says "–" where a value is missing.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"cell": func(f *float64, unit string) string {
		if f == nil {
			return "–"
		}
		return strings.TrimSpace(thousands(*f) + " " + unit)
	},
	"yes": func(b bool) string { return map[bool]string{true: "yes", false: "no"}[b] },
}).Parse(`{{define "front"}}<!doctype html>
<html lang="en"><head><title>Tea auction</title></head><body>
<h1>Estates</h1>
<ul class="estates">
{{range .Estates}}<li data-code="{{.Code}}"><h3>{{.Name}}</h3> <span class="region">{{.Region}}</span>, <span class="altitude">{{cell .Altitude "m"}}</span></li>
{{end}}</ul>
<p><a class="lots" href="/lots">All <b data-total="{{.Total}}">{{.Total}}</b> lots</a></p>
</body></html>
{{end}}{{define "lots"}}<!doctype html>
<html lang="en"><head><title>Lots, page {{.Page}} of {{.Pages}}</title></head><body>
<p data-total="{{.Total}}">{{.Total}} lots</p>
<table class="lots">
<thead>
<tr><th rowspan="2">Lot</th><th rowspan="2">Estate</th><th colspan="5">Leaf</th><th colspan="2">Tasting</th><th rowspan="2">Price</th></tr>
<tr><th>Grade</th><th>Harvested</th><th>Chests</th><th>Weight</th><th>Moisture</th><th>Aroma</th><th>Accepted</th></tr>
</thead>
<tbody>
{{range .Lots}}<tr><td><a href="/lot/{{.ID}}">{{.ID}}</a></td><td>{{.Estate}}</td><td>{{.Grade}}</td><td><time datetime="{{.Harvested.Format "2006-01-02"}}">{{.Harvested.Format "2 January 2006"}}</time></td><td>{{.Chests}}</td><td>{{.Weight}}</td><td>{{cell .Moisture "%"}}</td><td>{{cell .Aroma ""}}</td><td>{{yes .Accepted}}</td><td>€ {{printf "%.2f" .PriceEUR}}</td></tr>
{{end}}</tbody>
</table>
<nav>{{if .Next}}<a rel="next" href="{{.Next}}">next</a>{{end}}</nav>
</body></html>
{{end}}`))

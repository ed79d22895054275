package tea_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, site *tea.Site, path string) *extract.Document {
	t.Helper()
	rec := httptest.NewRecorder()
	site.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://tea.example"+path, nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%s: %d", path, rec.Code)
	}
	at, err := url.Parse("http://tea.example" + path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := extract.Open(rec.Body, extract.Source{URL: at, ContentType: rec.Header().Get("Content-Type")})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What the site says can be read back as it was made.
func TestSite(t *testing.T) {
	t.Parallel()
	const lots = 620
	site := tea.NewSite(1, lots)
	estates, err := extract.List[tea.Estate](open(t, site, "/"), tea.EstateList)
	if err != nil || len(estates.Problems) > 0 {
		t.Fatal(err, estates.Problems)
	}
	if diff := cmp.Diff(site.Estates(), estates.Items); diff != "" {
		t.Errorf("estates (-want +got):\n%s", diff)
	}
	var got []tea.Lot
	problems, pages := 0, 0
	for next := []string{"http://tea.example/lots"}; len(next) > 0; pages++ {
		u, err := url.Parse(next[0])
		if err != nil {
			t.Fatal(err)
		}
		d := open(t, site, u.RequestURI())
		page, err := extract.Table[tea.Lot](d, tea.LotTable)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.Items...)
		problems += len(page.Problems)
		next = d.Links(tea.NextPage)
	}
	want, unreadable := site.Lots(&url.URL{Scheme: "http", Host: "tea.example"})
	if diff := cmp.Diff(want, got); diff != "" || problems != unreadable || problems == 0 || pages != 13 {
		t.Errorf("%d problems of %d, %d pages; lots (-want +got):\n%s", problems, unreadable, pages, diff)
	}
}

// The data has what the samples are to deal with.
func TestSiteIsUntidy(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		lots, unreadable := tea.NewSite(seed, 2000).Lots(&url.URL{})
		missing, repeats, accepted, large := 0, 0, 0, 0
		seen := map[string]bool{}
		for _, l := range lots {
			if l.Aroma == nil || l.Moisture == nil {
				missing++
			}
			if seen[l.ID] {
				repeats++
			}
			if l.Accepted {
				accepted++
			}
			if l.WeightKG > 5000 {
				large++
			}
			seen[l.ID] = true
		}
		share := float64(accepted) / float64(len(lots))
		t.Logf("seed %d: %d missing, %d repeats, %d far out, %d unreadable, %.3f accepted", seed, missing, repeats, large, unreadable, share)
		if missing < 10 || repeats < 10 || large < 2 || unreadable < 2 || share < 0.4 || share > 0.6 {
			t.Error("too tidy, or out of balance")
		}
	}
	if diff := cmp.Diff(tea.NewSite(1, 60).Estates(), tea.NewSite(1, 600).Estates()); diff != "" {
		t.Errorf("estates depend on the number of lots:\n%s", diff)
	}
}

func TestSiteBounds(t *testing.T) {
	t.Parallel()
	site := tea.NewSite(1, 0)
	for path, want := range map[string]int{"/lots": 200, "/lots?page=1": 200, "/lots?page=2": 404, "/lots?page=x": 404, "/lot/L1": 404, "/robots.txt": 200} {
		rec := httptest.NewRecorder()
		site.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("%s: %d, want %d", path, rec.Code, want)
		}
	}
}

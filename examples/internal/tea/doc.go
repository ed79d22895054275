// Package tea is what the samples work on: lots of tea as an auction lists
// them, and a [Site] on loopback that lists lots it makes up, so that the
// samples need no network.
//
// The data is made, and says so: whether the tasters accepted a lot follows from
// its aroma, moisture, grade, season and the altitude of its estate, so that
// there is something to learn. About one row in twenty has what real pages have:
// a missing value, a slip of a decimal point, a repeat, or a cell that no program
// can read.
package tea

import "time"

// Lot is a row of the auction's table.
type Lot struct {
	ID        string    `col:"Lot" json:"lot"`
	URL       string    `col:"Lot" attr:"href" json:"url"`
	Estate    string    `col:"Estate" json:"estate"` // an Estate's Code
	Grade     string    `col:"Grade" json:"grade"`
	Harvested time.Time `col:"Harvested" attr:"datetime" layout:"2006-01-02" json:"harvested"`
	Chests    int       `col:"Chests" json:"chests"`
	WeightKG  float64   `col:"Weight" unit:"kg" json:"weight_kg"`
	Moisture  *float64  `col:"Moisture" unit:"%" json:"moisture"`
	Aroma     *float64  `col:"Aroma" json:"aroma"`
	PriceEUR  float64   `col:"Price" unit:"€" json:"price_eur"` // of a kilogram
	Accepted  bool      `col:"Accepted" json:"accepted"`
}

// Estate is an item of the auction's list of estates.
type Estate struct {
	Code     string   `css:"." attr:"data-code" json:"code"`
	Name     string   `css:"h3" json:"name"`
	Region   string   `css:".region" json:"region"`
	Altitude *float64 `css:".altitude" unit:"m" json:"altitude_m"`
}

// What a page of the auction looks like to a program.
const (
	LotTable   = "table.lots"
	EstateList = "ul.estates > li"
	NextPage   = `a[rel~="next"]`
	ListLink   = "a.lots"       // from the first page to the table
	TotalMark  = "[data-total]" // how many lots there are
	TotalAttr  = "data-total"   // in this attribute
)

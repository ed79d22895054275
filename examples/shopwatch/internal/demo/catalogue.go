package demo

import (
	"hash/fnv"
	"time"
)

// Product is a thing that the shop sells, as it stands at one moment.
type Product struct {
	Slug     string
	Name     string
	Category string
	Blurb    string
	Cents    int64 // hundredths of a euro
	InStock  bool
}

// hot is how many products change their price often; the rest change rarely.
const hot = 6

// At returns what the shop sells once it has been open for elapsed, where the
// prices move every step. It is a pure function: the same arguments give the
// same products.
//
// In the first step all prices are those of the list. From the second on a few
// prices change with each step; from the third on one product at a time is
// missing, for three steps each.
func At(elapsed, step time.Duration) []Product {
	k := max(0, int64(elapsed/step))
	gone := -1
	if k >= 2 {
		gone = int(hash("gone", (k-2)/3, 0) % uint64(len(stock)))
	}

	products := make([]Product, 0, len(stock))
	for i, s := range stock {
		if i == gone {
			continue
		}
		products = append(products, Product{
			Slug: s.slug, Name: s.name, Category: s.category, Blurb: s.blurb,
			Cents: cents(i, s.cents, k), InStock: hash("stock", k/8, i)%14 != 0,
		})
	}

	return products
}

// cents is the price of product i in step k: that of the last step in which it
// changed, within 18 % of the list's, in steps of 5 cents.
func cents(i int, list, k int64) int64 {
	for k > 0 && !changes(i, k) {
		k--
	}
	if k == 0 {
		return list
	}
	per1000 := int64(hash("price", k, i)%361) - 180
	moved := (list*(1000+per1000)/1000 + 2) / 5 * 5
	if moved == list { // a change is a change
		moved += 5
	}
	return moved
}

// changes reports whether the price of product i is set anew in step k.
func changes(i int, k int64) bool {
	// Every eighth product is hot, so that each category has some.
	if i%8 == 3 && i/8 < hot {
		return k == 1 && i/8 < hot/2 || hash("hot", k, i)%2 == 0
	}
	return hash("calm", k, i)%60 == 0
}

func hash(what string, k int64, i int) uint64 {
	h := fnv.New64a()
	var b [16]byte
	for j := range 8 {
		b[j], b[8+j] = byte(k>>(8*j)), byte(i>>(8*j))
	}
	_, _ = h.Write([]byte(what))
	_, _ = h.Write(b[:])
	v := h.Sum64() // FNV's low bits differ little between neighbours
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	return v ^ v>>33
}

// listed is a product with its list price.
type listed struct {
	slug, name, category, blurb string
	cents                       int64
}

// stock is what the shop sells, in the order of its catalogue.
var stock = [...]listed{
	{"assam-breakfast", "Assam Breakfast", "Tea", "Malty and brisk; stands up to milk.", 890},
	{"darjeeling-first-flush", "Darjeeling First Flush", "Tea", "Picked in March, light and floral.", 2450},
	{"earl-grey-bergamot", "Earl Grey with Bergamot", "Tea", "Black tea with oil of real bergamot.", 1120},
	{"sencha-kagoshima", "Sencha Kagoshima", "Tea", "Steamed green tea, grassy and sweet.", 1690},
	{"gunpowder-green", "Gunpowder Green", "Tea", "Rolled leaves; the base of mint tea.", 780},
	{"jasmine-pearls", "Jasmine Pearls", "Tea", "Hand-rolled and scented for six nights.", 2190},
	{"oolong-tie-guan-yin", "Oolong Tie Guan Yin", "Tea", "Half oxidised, with a note of orchid.", 1980},
	{"lapsang-souchong", "Lapsang Souchong", "Tea", "Dried over pine wood; smoky.", 1340},
	{"white-peony", "White Peony", "Tea", "Buds and young leaves, barely touched.", 1850},
	{"rooibos-vanilla", "Rooibos Vanilla", "Tea", "Red bush from the Cederberg, no caffeine.", 690},
	{"chamomile-flowers", "Chamomile Flowers", "Tea", "Whole flowers for a quiet evening.", 590},
	{"masala-chai", "Masala Chai", "Tea", "Assam, cardamom, ginger, clove, pepper.", 990},
	{"house-espresso", "House Espresso", "Coffee", "Chocolate and hazelnut; our daily roast.", 1290},
	{"ethiopia-yirgacheffe", "Ethiopia Yirgacheffe", "Coffee", "Washed, citrus and jasmine.", 1590},
	{"colombia-huila", "Colombia Huila", "Coffee", "Caramel, red apple, round body.", 1450},
	{"guatemala-antigua", "Guatemala Antigua", "Coffee", "Cocoa and orange from volcanic soil.", 1480},
	{"kenya-aa-nyeri", "Kenya AA Nyeri", "Coffee", "Blackcurrant and a long finish.", 1790},
	{"sumatra-mandheling", "Sumatra Mandheling", "Coffee", "Earthy, low in acid.", 1390},
	{"brazil-santos", "Brazil Santos", "Coffee", "Nutty and mild.", 1190},
	{"decaf-mexico", "Decaf Mexico", "Coffee", "Decaffeinated with spring water.", 1420},
	{"cold-brew-blend", "Cold Brew Blend", "Coffee", "Ground coarse, for twelve hours in the fridge.", 1350},
	{"filter-no-4", "Filter Blend No. 4", "Coffee", "For a whole pot in the morning.", 1150},
	{"peaberry-tanzania", "Peaberry Tanzania", "Coffee", "One round bean per cherry.", 1680},
	{"rwanda-bourbon", "Rwanda Bourbon", "Coffee", "Red berries and brown sugar.", 1640},
	{"gooseneck-kettle", "Gooseneck Kettle 0.9 l", "Equipment", "Pours where you point it.", 5490},
	{"hand-grinder", "Hand Grinder", "Equipment", "Conical steel burrs, 30 clicks.", 7990},
	{"pour-over-dripper", "Pour-over Dripper", "Equipment", "Porcelain, for one to four cups.", 2290},
	{"moka-pot-6", "Moka Pot, 6 cups", "Equipment", "Aluminium, as in every Italian kitchen.", 3290},
	{"french-press", "French Press 1 l", "Equipment", "Borosilicate glass in a steel frame.", 2990},
	{"tea-scale", "Brewing Scale", "Equipment", "To a tenth of a gram, with a timer.", 4590},
	{"milk-jug", "Milk Jug 350 ml", "Equipment", "With a spout for a steady hand.", 1890},
	{"cast-iron-teapot", "Cast Iron Teapot", "Equipment", "Enamelled inside; keeps warm for an hour.", 6290},
	{"matcha-whisk", "Matcha Whisk", "Equipment", "Cut from one piece of bamboo.", 1690},
	{"paper-filters-100", "Paper Filters, 100", "Equipment", "Unbleached, size 02.", 490},
	{"thermometer", "Brewing Thermometer", "Equipment", "Reads in three seconds.", 2190},
	{"cleaning-brush", "Grinder Brush", "Equipment", "Boar bristle and beech.", 790},
	{"stoneware-mug", "Stoneware Mug", "Tableware", "Thrown by hand, 300 ml.", 1950},
	{"espresso-cups-2", "Espresso Cups, set of 2", "Tableware", "Thick walls, 80 ml.", 1790},
	{"cappuccino-cup", "Cappuccino Cup", "Tableware", "Round inside, 180 ml.", 1290},
	{"glass-teapot", "Glass Teapot", "Tableware", "See the leaves unfold.", 3490},
	{"tea-bowl-celadon", "Tea Bowl, Celadon", "Tableware", "Crackle glaze, each one different.", 2790},
	{"saucer-beech", "Beech Saucer", "Tableware", "Oiled, for any cup.", 890},
	{"sugar-bowl", "Sugar Bowl", "Tableware", "With a lid and a notch for the spoon.", 1690},
	{"travel-tumbler", "Travel Tumbler", "Tableware", "Steel, tight, 400 ml.", 2590},
	{"tea-tin-250", "Tea Tin, 250 g", "Tableware", "Two lids against light and air.", 1390},
	{"linen-towel", "Linen Towel", "Tableware", "Dries glasses without a streak.", 1590},
	{"biscuit-plate", "Biscuit Plate", "Tableware", "For four, if they are quick.", 1490},
	{"serving-tray", "Serving Tray", "Tableware", "Ash, with finger holes.", 4290},
}

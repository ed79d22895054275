package useragent

import (
	"net/http"
	"strconv"
	"strings"
)

// Family is a browser family, as far as its request headers differ.
type Family string

// The families that [Parse] knows. ChromeIOS is Chrome on an iPhone or iPad:
// Safari's engine, and so Safari's headers.
const (
	Chrome    Family = "chrome"
	ChromeIOS Family = "chrome-ios"
	Edge      Family = "edge"
	Opera     Family = "opera"
	Samsung   Family = "samsung"
	Chromium  Family = "chromium" // another browser built on Chromium
	Firefox   Family = "firefox"
	Safari    Family = "safari"
)

// Agent is what a user agent string says of its browser. The zero Agent is a
// client that is no known browser.
type Agent struct {
	// String is the user agent itself.
	String string
	// Family is the browser family, "" if it is not a known one.
	Family Family
	// Major is the browser's own major version.
	Major int
	// Engine is the major version of Chromium in Chromium's families, else Major.
	Engine int
	// Platform is the value of Sec-CH-UA-Platform without its quotes: "Windows",
	// "macOS", "Linux", "Chrome OS", "Android" or "iOS"; "" if unknown.
	Platform string
	// Mobile says that the browser asks for pages made for phones.
	Mobile bool
}

// Parse reads a user agent string. It reports false if the string does not
// name a browser of a known family; the Agent then carries the string alone.
func Parse(s string) (Agent, bool) {
	a := Agent{String: s}
	if !strings.HasPrefix(s, "Mozilla/5.0 (") {
		return a, false
	}
	a.Platform = platform(s)
	a.Mobile = strings.Contains(s, " Mobile/") || strings.Contains(s, " Mobile ") || strings.Contains(s, "; Mobile;")

	engine := version(s, " Chrome/")
	switch {
	case strings.Contains(s, "Trident/"), strings.Contains(s, " Edge/"), strings.Contains(s, "PhantomJS"):
		return Agent{String: s}, false
	case engine > 0 && (!strings.Contains(s, "AppleWebKit/") || !strings.Contains(s, " Safari/")): // was it cut?
		return Agent{String: s}, false
	case version(s, " CriOS/") > 0:
		a.Family, a.Major = ChromeIOS, version(s, " CriOS/")
	case version(s, " Firefox/") > 0 && strings.Contains(s, " Gecko/"):
		a.Family, a.Major = Firefox, version(s, " Firefox/")
	case engine > 0 && version(s, " Edg/")+version(s, " EdgA/") > 0:
		a.Family, a.Major = Edge, version(s, " Edg/")+version(s, " EdgA/")
	case engine > 0 && version(s, " OPR/") > 0:
		a.Family, a.Major = Opera, version(s, " OPR/")
	case engine > 0 && version(s, " SamsungBrowser/") > 0:
		a.Family, a.Major = Samsung, version(s, " SamsungBrowser/")
	case engine > 0 && plainChrome(s):
		a.Family, a.Major = Chrome, engine
	case engine > 0:
		a.Family, a.Major = Chromium, engine
	case version(s, " Version/") > 0 && strings.Contains(s, " Safari/") && (a.Platform == "macOS" || a.Platform == "iOS"):
		a.Family, a.Major = Safari, version(s, " Version/")
	default:
		return Agent{String: s}, false
	}

	a.Engine = a.Major
	if a.IsChromium() {
		a.Engine = engine
	}
	return a, true
}

// plainChrome reports whether nothing follows the engine's products but what
// Chrome itself writes.
func plainChrome(s string) bool {
	_, products, ok := strings.Cut(s, "(KHTML, like Gecko) ")
	if !ok {
		return false
	}
	for product := range strings.FieldsSeq(products) {
		name, _, _ := strings.Cut(product, "/")
		if name != "Chrome" && name != "Safari" && name != "Mobile" {
			return false
		}
	}
	return true
}

// version returns the number after mark, 0 if there is none.
func version(s, mark string) int {
	_, rest, ok := strings.Cut(s, mark)
	if !ok {
		return 0
	}
	end := 0
	for end < len(rest) && end < 5 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(rest[:end]) // "" gives 0, five digits cannot overflow
	return n
}

// platform reads the first comment of a user agent.
func platform(s string) string {
	_, rest, _ := strings.Cut(s, "(")
	system, _, _ := strings.Cut(rest, ")")
	switch {
	case strings.HasPrefix(system, "Windows"):
		return "Windows"
	case strings.HasPrefix(system, "iPhone"), strings.HasPrefix(system, "iPad"), strings.HasPrefix(system, "iPod"):
		return "iOS"
	case strings.HasPrefix(system, "Macintosh"):
		return "macOS"
	case strings.Contains(system, "Android"):
		return "Android"
	case strings.Contains(system, "CrOS"):
		return "Chrome OS"
	case strings.Contains(system, "Linux"):
		return "Linux"
	}

	return ""
}

// IsChromium reports whether the browser is built on Chromium, and so sends
// client hints.
func (a Agent) IsChromium() bool {
	switch a.Family {
	case Chrome, Edge, Opera, Samsung, Chromium:
		return true
	}
	return false
}

// Header returns the headers that the browser sends when someone types an
// address: User-Agent, Accept, Accept-Language, Accept-Encoding and, where
// that browser sends them, Upgrade-Insecure-Requests, Sec-Fetch-* and
// Sec-CH-UA*. The latter two are sent to secure origins only: https, and
// loopback. An agent that is no known browser gets User-Agent, Accept and
// Accept-Encoding. The caller owns the result.
func (a Agent) Header(secure bool) http.Header {
	h := http.Header{"User-Agent": {a.String}}
	const plainAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	encodings := "gzip, deflate"
	if secure {
		encodings = "gzip, deflate, br"
	}

	switch {
	case a.IsChromium():
		h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7")
		h.Set("Accept-Language", "en-US,en;q=0.9")
		h.Set("Upgrade-Insecure-Requests", "1")
		if secure {
			h.Set("Sec-CH-UA", a.brands())
			h.Set("Sec-CH-UA-Mobile", "?"+map[bool]string{false: "0", true: "1"}[a.Mobile])
			if a.Platform != "" {
				h.Set("Sec-CH-UA-Platform", `"`+a.Platform+`"`)
			}
			h.Set("Sec-Fetch-User", "?1")
			encodings += ", zstd"
		}
	case a.Family == Firefox:
		h.Set("Accept", plainAccept)
		h.Set("Accept-Language", "en-US,en;q=0.5")
		h.Set("Upgrade-Insecure-Requests", "1")
		if secure {
			h.Set("Sec-Fetch-User", "?1")
			encodings += ", zstd"
		}
	case a.Family == Safari, a.Family == ChromeIOS:
		h.Set("Accept", plainAccept)
		h.Set("Accept-Language", "en-US,en;q=0.9")
	default:
		h.Set("Accept", "*/*")
		h.Set("Accept-Encoding", "gzip, deflate, br, zstd")
		return h
	}

	h.Set("Accept-Encoding", encodings)
	if secure {
		h.Set("Sec-Fetch-Dest", "document")
		h.Set("Sec-Fetch-Mode", "navigate")
		h.Set("Sec-Fetch-Site", "none")
	}

	return h
}

// brands returns the value of Sec-CH-UA: Chromium, the browser's brand, and a
// brand that does not exist, in an order and with a spelling that follow from
// the major version, as Chromium's source computes them.
func (a Agent) brands() string {
	seed := a.Engine
	const chars = " (:-./);=?_"
	grease := `"Not` + string(chars[seed%11]) + "A" + string(chars[(seed+1)%11]) + `Brand";v="` +
		[3]string{"8", "99", "24"}[seed%3] + `"`
	engine := `"Chromium";v="` + strconv.Itoa(a.Engine) + `"`

	var brand string
	switch a.Family {
	case Chrome:
		brand = `"Google Chrome";v="` + strconv.Itoa(a.Major) + `"`
	case Edge:
		brand = `"Microsoft Edge";v="` + strconv.Itoa(a.Major) + `"`
	case Opera:
		brand = `"Opera";v="` + strconv.Itoa(a.Major) + `"`
	case Samsung:
		brand = `"Samsung Internet";v="` + strconv.Itoa(a.Major) + `.0"`
	default:
		if seed%2 == 0 {
			return grease + ", " + engine
		}
		return engine + ", " + grease
	}

	var list [3]string
	order := [6][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}[seed%6]
	list[order[0]], list[order[1]], list[order[2]] = grease, engine, brand
	return strings.Join(list[:], ", ")
}

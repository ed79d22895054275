package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
)

var titleTag = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title\s*>`)

var errNoTitle = errors.New("the page has no title")

// title fetches a page and returns its title.
func title(ctx context.Context, client *http.Client, address string, maxBytes int64) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server answered %s", res.Status)
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, maxBytes))
	if err != nil {
		return "", err
	}
	m := titleTag.FindSubmatch(page)
	if m == nil {
		return "", errNoTitle
	}
	return strings.Join(strings.Fields(html.UnescapeString(string(m[1]))), " "), nil
}

package e2e_test

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// keyForms are what keys look like that have a look of their own.
var keyForms = map[string]*regexp.Regexp{
	"a private key":          regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}`),
	"an age identity":        regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{58}`),
	"a GitHub token":         regexp.MustCompile(`\b(gh[opusr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})`),
	"a GitLab token":         regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20}`),
	"an AWS key":             regexp.MustCompile(`\bA(KIA|SIA)[0-9A-Z]{16}\b`),
	"a Google key":           regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`),
	"a Slack token":          regexp.MustCompile(`\bxox[abeprs]-[0-9A-Za-z-]{20}`),
	"an npm token":           regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}`),
	"a key of a model's API": regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{32}`),
	"a Stripe key":           regexp.MustCompile(`\b[rs]k_live_[0-9A-Za-z]{20}`),
	"a signed token":         regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}`),
}

// mark is what each has in it, to be looked for first.
var mark = map[string]string{"a private key": "PRIVATE KEY-----", "an age identity": "AGE-SECRET", "a GitLab token": "glpat-", "a Google key": "AIza", "a Slack token": "xox",
	"an npm token": "npm_", "a key of a model's API": "sk-", "a Stripe key": "k_live_", "a signed token": "eyJ", "an AWS key": "IA"}

// Nothing in this repository looks like a live secret, and what does would be
// found.
func TestNoSecretInTheTree(t *testing.T) {
	t.Parallel()
	keyIn := func(text string) (kinds []string) {
		for kind, form := range keyForms {
			if strings.Contains(text, mark[kind]) && form.MatchString(text) {
				kinds = append(kinds, kind)
			}
		}
		return kinds
	}
	noise := strings.Repeat(rand.Text(), 4)
	for kind, planted := range map[string]string{
		"a private key": "-----BEGIN EC PRIVATE" + " KEY-----\n" + noise, "an age identity": "AGE-SECRET-KEY-" + "1" + noise, "a GitHub token": "'ghp_" + noise, "a GitLab token": "glpat-" + noise,
		"an AWS key": "AKIA" + noise[:16], "a Google key": "AIza" + noise, "a Slack token": "xoxb-" + noise, "an npm token": "npm_" + noise, "a key of a model's API": "sk-" + noise,
		"a Stripe key": "sk_live_" + noise, "a signed token": "eyJ" + noise + ".eyJ" + noise + "." + noise,
	} {
		if got := keyIn("x = \"" + planted + "\"\n"); len(got) != 1 || got[0] != kind {
			t.Errorf("%s: found %q", kind, got)
		}
	}
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		files++
		for _, kind := range keyIn(string(text)) {
			t.Errorf("%s has what looks like %s", path, kind)
		}
		return err
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}

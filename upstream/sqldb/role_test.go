package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"testing"
)

// TestMighty has grants be understood as servers write them.
func TestMighty(t *testing.T) {
	for grant, want := range map[string]string{
		"GRANT USAGE ON *.* TO `a`@`%`":                                        "",
		"GRANT SELECT, SHOW VIEW, PROCESS, EXECUTE ON *.* TO `a`@`%`":          "",
		"GRANT ALL PRIVILEGES ON `sales`.* TO `a`@`%` WITH GRANT OPTION":       "",
		"GRANT ALL PRIVILEGES ON `my\\_app`.* TO `a`@`%`":                      "",
		"GRANT SELECT ON `mysql`.* TO `a`@`%`":                                 "",
		"GRANT SELECT (`Host`, `Insert`, `User`) ON `mysql`.`user` TO `a`@`%`": "",
		"GRANT EXECUTE ON PROCEDURE `mysql`.`p` TO `a`@`%`":                    "",
		"GRANT `inner`@`%`,`insert`@`%` TO `a`@`%`":                            "",
		"SET DEFAULT ROLE `file` FOR `a`@`%`":                                  "",
		"REVOKE INSERT ON `mysql`.* FROM `a`@`%`":                              "",
		"GRANT SELECT ON `sales`.* TO `a`@`%` WITH GRANT OPTION":               "",
		"GRANT SELECT, FILE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*00'":    "has FILE on all databases",
		"GRANT BACKUP_ADMIN,NEVER_SEEN_ADMIN ON *.* TO `a`@`%`":                "has BACKUP_ADMIN on all databases, NEVER_SEEN_ADMIN on all databases",
		"GRANT SELECT ON *.* TO `a`@`%` WITH GRANT OPTION":                     "has GRANT OPTION on all databases",
		"GRANT ALL PRIVILEGES ON `mysql`.* TO `a`@`%`":                         "has ALL PRIVILEGES on the server's own",
		"GRANT ALL PRIVILEGES ON \"mysql\".* TO \"a\"@\"%\"":                   "has ALL PRIVILEGES on the server's own",
		"GRANT ALL PRIVILEGES ON mysql.* TO a":                                 "has ALL PRIVILEGES on the server's own",
		"GRANT INSERT ON `%`.* TO `a`@`%`":                                     "has INSERT on the server's own",
		"GRANT DELETE ON `m_sq%`.* TO `a`@`%`":                                 "has DELETE on the server's own",
		"GRANT SELECT, UPDATE (`Host`, `User`) ON `mysql`.`user` TO `a`@`%`":   "has UPDATE on the server's own",
		"GRANT ALTER ROUTINE ON PROCEDURE `mysql`.`p` TO `a`@`%`":              "has ALTER ROUTINE on the server's own",
		"GRANT PROXY ON ``@`` TO `a`@`%` WITH GRANT OPTION":                    "has GRANT OPTION, PROXY",
		"GRANT PROXY ON 'filer'@'127.0.0.1' TO 'proxy'@'127.0.0.1'":            "has PROXY",
	} {
		if got := mighty([]string{"GRANT USAGE ON *.* TO `a`@`%`", grant}); got != want {
			t.Errorf("%s: %q, want %q", grant, got, want)
		}
	}
}

// answers is a MySQL that answers what it is asked, in one column.
type answers map[string][]string

func (a answers) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (a answers) Close() error                        { return nil }
func (a answers) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

func (a answers) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if a[query] == nil {
		return nil, errors.New("not expected: " + query)
	}
	rows := answer(a[query])
	return &rows, nil
}

type answer []string

func (r *answer) Columns() []string { return []string{"a"} }
func (r *answer) Close() error      { return nil }

func (r *answer) Next(row []driver.Value) error {
	if len(*r) == 0 {
		return io.EOF
	}
	row[0], *r = []byte((*r)[0]), (*r)[1:]
	return nil
}

// TestActiveRoles has the rights of roles count that MySQL makes active by itself.
func TestActiveRoles(t *testing.T) {
	own := []string{"GRANT SELECT ON `sales`.* TO `a`@`%`", "GRANT `r`@`%` TO `a`@`%`"}
	for _, c := range []struct {
		version string
		conn    answers
		want    string
	}{
		{"8.4.3", answers{"SELECT CURRENT_ROLE()": {"`r`@`%`,`s`@`%`"}, "SHOW GRANTS FOR CURRENT_USER() USING `r`@`%`,`s`@`%`": append([]string{"GRANT INSERT, FILE ON *.* TO `a`@`%`"}, own...)}, "has FILE on all databases, INSERT on all databases"},
		{"9.1.0", answers{"SELECT CURRENT_ROLE()": {"NONE"}, "SHOW GRANTS": own}, ""},
		{"5.7.44-log", answers{"SHOW GRANTS": own}, ""},
		{"10.11.14-MariaDB", answers{"SHOW GRANTS": append([]string{"GRANT FILE ON *.* TO `r`"}, own...)}, "has FILE on all databases"},
	} {
		grants, err := grantsOf(t.Context(), c.conn, c.version)
		if got := mighty(grants); got != c.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", c.version, got, err, c.want)
		}
	}
	if _, err := grantsOf(t.Context(), answers{}, "8.4.3"); err == nil {
		t.Error("who cannot be asked is not looked at")
	}
}

# SPDX-License-Identifier: BSD-2-Clause
"""The table as a picture: for each work one group of bars, each group with a scale of its own."""

from xml.sax.saxutils import escape

from report import OURS, seconds_text
from works import TITLES

WIDTH, LABEL, VALUE = 860, 250, 130  # px
BAR, GAP, GROUP_GAP, TOP, BOTTOM = 15, 3, 17, 64, 44
COLORS = {OURS: "#0b7285", "sshfs": "#e8590c", "rclone": "#7048e8"}
OTHER = "#868e96"


def bars_of(results, link):
    """[(title, [(tool, seconds, scaled)])], works that sftpfs did"""
    groups = []
    for work in results.works(link):
        bars = []
        for tool in results.tools(link):
            value = results.median(link, work, tool)
            if value is not None:
                bars.append((tool, value, results.scaled(link, work, tool)))
        if any(tool == OURS for tool, _, _ in bars):
            groups.append((TITLES[work], bars))
    return groups


def svg(results, link):
    groups = bars_of(results, link)
    height = TOP + BOTTOM + sum(len(bars) * (BAR + GAP) + GROUP_GAP for _, bars in groups)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="Helvetica, Arial, sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="16" y="26" font-size="16" font-weight="bold" fill="#212529">'
           f'Seconds, shorter is better: round trip {escape(link)} each way</text>',
           '<text x="16" y="45" fill="#495057">Each work has its own scale; ~ is extrapolated from a part. '
           'Commands include their login.</text>']
    y = TOP
    for title, bars in groups:
        longest = max(value for _, value, _ in bars)
        out.append(f'<text x="16" y="{y + BAR - 3}" font-weight="bold" fill="#212529">{escape(title)}</text>')
        out.append(f'<line x1="{LABEL + 66}" y1="{y - 2}" x2="{LABEL + 66}" y2="{y + len(bars) * (BAR + GAP)}" '
                   'stroke="#ced4da"/>')
        for tool, value, scaled in bars:
            length = max(1.5, value / longest * (WIDTH - LABEL - 66 - VALUE))
            weight = ' font-weight="bold"' if tool == OURS else ""
            label = ("~" if scaled else "") + seconds_text(value)
            out.append(f'<text x="{LABEL + 60}" y="{y + BAR - 3}" text-anchor="end" fill="#343a40"{weight}>{escape(tool)}</text>')
            out.append(f'<rect x="{LABEL + 66}" y="{y}" width="{length:.1f}" height="{BAR}" '
                       f'fill="{COLORS.get(tool, OTHER)}"/>')
            out.append(f'<text x="{LABEL + 72 + length:.1f}" y="{y + BAR - 3}" fill="#343a40"{weight}>{label}</text>')
            y += BAR + GAP
        y += GROUP_GAP
    out.append(f'<text x="16" y="{height - 16}" font-size="10" fill="#868e96">{escape(results.about["machine"])}; '
               f'{escape(results.about["date"])}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"

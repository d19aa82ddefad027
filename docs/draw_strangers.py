"""Draw pictures that are in no data set: `python docs/draw_strangers.py FOLDER`.

Eight show objects of CIFAR-10's classes; twelve show something else, two of them scikit-learn's photographs.
`--sheet FILE` also writes all of them as one picture. `--digits` draws printed digits instead, in white on
black, as in MNIST, and in black on white.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

TILE, COLUMNS = 140, 7


def sky(width: int, height: int, top: tuple[int, ...], bottom: tuple[int, ...]) -> Image.Image:
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return Image.fromarray(rows.repeat(width, axis=1).astype(np.uint8))


def ship() -> Image.Image:
    image = sky(640, 480, (120, 170, 230), (200, 220, 245))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 300, 640, 480), fill=(30, 70, 120))
    draw.polygon([(120, 290), (540, 290), (480, 360), (170, 360)], fill=(90, 40, 40))
    draw.rectangle((220, 230, 430, 290), fill=(235, 235, 235))
    draw.rectangle((300, 170, 340, 230), fill=(200, 60, 40))
    draw.line((180, 290, 180, 150), fill=(60, 60, 60), width=6)
    return image


def airplane() -> Image.Image:
    image = sky(600, 480, (90, 140, 220), (170, 200, 240))
    draw = ImageDraw.Draw(image)
    draw.ellipse((90, 215, 520, 275), fill=(225, 225, 230))
    draw.polygon([(270, 245), (360, 245), (250, 380), (215, 380)], fill=(170, 170, 180))
    draw.polygon([(290, 235), (360, 235), (300, 140), (270, 140)], fill=(190, 190, 200))
    draw.polygon([(100, 240), (160, 235), (110, 150), (75, 150)], fill=(180, 50, 50))
    for x in range(180, 440, 28):
        draw.ellipse((x, 232, x + 12, 246), fill=(60, 80, 110))
    return image


def truck() -> Image.Image:
    image = Image.new("RGB", (640, 480), (190, 205, 215))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 360, 640, 480), fill=(95, 95, 95))
    draw.rectangle((60, 140, 420, 350), fill=(210, 210, 205))
    draw.rectangle((420, 210, 560, 350), fill=(190, 30, 30))
    draw.rectangle((480, 225, 550, 280), fill=(150, 190, 215))
    for x in (90, 200, 450):
        draw.ellipse((x, 320, x + 80, 400), fill=(20, 20, 20))
    return image


def car() -> Image.Image:
    image = Image.new("RGB", (640, 420), (170, 190, 170))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 300, 640, 420), fill=(110, 110, 110))
    draw.rounded_rectangle((70, 200, 570, 310), 40, fill=(200, 30, 30))
    draw.polygon([(170, 205), (230, 125), (410, 125), (480, 205)], fill=(190, 25, 25))
    draw.polygon([(195, 200), (240, 140), (315, 140), (315, 200)], fill=(170, 210, 230))
    draw.polygon([(330, 200), (330, 140), (400, 140), (450, 200)], fill=(170, 210, 230))
    for x in (120, 430):
        draw.ellipse((x, 260, x + 90, 350), fill=(20, 20, 20))
        draw.ellipse((x + 25, 285, x + 65, 325), fill=(180, 180, 180))
    return image


def cat() -> Image.Image:
    image = Image.new("RGB", (480, 480), (120, 110, 90))
    draw = ImageDraw.Draw(image)
    fur = (160, 120, 80)
    draw.polygon([(110, 200), (120, 60), (220, 150)], fill=fur)
    draw.polygon([(370, 200), (360, 60), (260, 150)], fill=fur)
    draw.ellipse((90, 120, 390, 400), fill=fur)
    for x in (150, 270):
        draw.ellipse((x, 210, x + 60, 270), fill=(190, 220, 90))
        draw.ellipse((x + 20, 212, x + 40, 268), fill=(10, 10, 10))
    draw.polygon([(220, 290), (260, 290), (240, 315)], fill=(200, 120, 120))
    for x in (200, 240):
        draw.arc((x, 300, x + 40, 345), 0, 180, fill=(60, 40, 30), width=5)
    for number in range(3):
        for start, end in ((150, 40), (330, 440)):
            line = (start, 310 + number * 12, end, 290 + number * 25)
            draw.line(line, fill=(230, 230, 230), width=3)
    return image


def frog() -> Image.Image:
    image = Image.new("RGB", (480, 400), (90, 120, 60))
    draw = ImageDraw.Draw(image)
    draw.ellipse((90, 150, 390, 350), fill=(70, 160, 50))
    for x in (120, 270):
        draw.ellipse((x, 90, x + 90, 180), fill=(70, 160, 50))
        draw.ellipse((x + 20, 105, x + 70, 160), fill=(240, 230, 120))
        draw.ellipse((x + 34, 120, x + 56, 145), fill=(0, 0, 0))
    draw.arc((150, 180, 330, 320), 10, 170, fill=(30, 80, 20), width=6)
    return image


def bird() -> Image.Image:
    image = sky(500, 400, (150, 190, 150), (210, 220, 190))
    draw = ImageDraw.Draw(image)
    draw.ellipse((150, 150, 350, 280), fill=(110, 80, 60))
    draw.ellipse((310, 100, 390, 180), fill=(120, 90, 65))
    draw.polygon([(385, 135), (430, 145), (385, 155)], fill=(230, 170, 40))
    draw.ellipse((350, 125, 362, 137), fill=(0, 0, 0))
    draw.polygon([(160, 210), (60, 170), (80, 240)], fill=(90, 65, 50))
    for x in (230, 260):
        draw.line((x, 275, x, 340), fill=(200, 140, 40), width=5)
    draw.line((0, 345, 500, 345), fill=(90, 60, 30), width=14)
    return image


def horse() -> Image.Image:
    image = Image.new("RGB", (520, 420), (120, 170, 90))
    draw = ImageDraw.Draw(image)
    brown = (110, 65, 35)
    draw.rectangle((0, 0, 520, 180), fill=(170, 205, 235))
    draw.ellipse((130, 160, 370, 270), fill=brown)
    for x in (150, 185, 310, 345):
        draw.rectangle((x, 240, x + 22, 370), fill=brown)
    draw.polygon([(330, 190), (400, 80), (440, 110), (370, 240)], fill=brown)
    draw.ellipse((395, 70, 480, 125), fill=brown)
    draw.line((330, 180, 395, 80), fill=(30, 20, 10), width=16)
    draw.line((135, 200, 95, 300), fill=(30, 20, 10), width=12)
    return image


def strangers() -> dict[str, Image.Image]:
    """Return pictures of none of the classes."""
    y, x = np.mgrid[0:400, 0:400]
    gradient = np.stack([x * 255 // 399, y * 255 // 399, (x + y) * 255 // 798], -1)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3))
    disc = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(disc).ellipse((60, 60, 240, 240), fill=(220, 30, 30, 255))
    letter = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(letter).text((40, 60), "To whom it\nmay concern", fill="black", font_size=48)
    chart = Image.new("RGB", (300, 420), (240, 235, 225))
    for number, colour in enumerate([(60, 90, 160), (200, 120, 40), (60, 140, 80)]):
        bar = (60 + 70 * number, 300 - 60 * number, 110 + 70 * number, 380)
        ImageDraw.Draw(chart).rectangle(bar, fill=colour)
    temple, flower = (Image.fromarray(each) for each in load_sample_images().images)
    return {
        "bar-chart": chart,
        "black": Image.new("L", (200, 200), 0),
        "chessboard": Image.fromarray((((x // 50 + y // 50) % 2) * 255).astype(np.uint8)),
        "flower": flower,
        "gradient": Image.fromarray(gradient.astype(np.uint8)),
        "grey": Image.new("L", (200, 200), 128),
        "letter": letter,
        "noise": Image.fromarray(noise.astype(np.uint8)),
        "red-disc": disc,
        "temple": temple,
        "temple-part": temple.crop((150, 150, 450, 400)),
        "white": Image.new("L", (200, 200), 255),
    }


def digits() -> dict[str, Image.Image]:
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 190)
    pictures = {}
    for digit in "0123456789":
        for ground, ink in (("black", 255), ("white", 0)):
            image = Image.new("L", (280, 280), ground)
            ImageDraw.Draw(image).text((140, 140), digit, fill=ink, font=font, anchor="mm")
            pictures[f"on-{ground}-{digit}"] = image
    return pictures


KNOWN: tuple[Callable[[], Image.Image], ...] = (airplane, bird, car, cat, frog, horse, ship, truck)


def save(images: dict[str, Image.Image], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")


def save_sheet(images: dict[str, Image.Image], path: Path) -> None:
    page = Image.new("RGB", (COLUMNS * TILE, -(-len(images) // COLUMNS) * TILE), (244, 246, 248))
    for number, image in enumerate(images.values()):
        small = image.convert("RGBA")
        small.thumbnail((TILE - 8, TILE - 8))
        page.paste(small, (number % COLUMNS * TILE + 4, number // COLUMNS * TILE + 4), small)
    page.save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--digits", action="store_true")
    arguments = parser.parse_args()
    pictures = digits() if arguments.digits else {each.__name__: each() for each in KNOWN} | strangers()
    save(pictures, arguments.folder)
    if arguments.sheet:
        save_sheet(pictures, arguments.sheet)
